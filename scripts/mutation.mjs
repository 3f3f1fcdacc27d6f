/**
 * Mutation testing of what matters most: loss masks, packing, schedules, and the plan of MoRA's products. Changes one token
 * of a file at a time (an operator, a border, a constant), runs the tests that are about the file, and lists the
 * changes that no test has noticed. Files themselves are left as they are.
 *
 *   npm run test:mutation                     all files
 *   npm run test:mutation -- schedule windows those whose path contains one of these
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { equivalents } from './mutation/equivalents.mjs'
import { mutantsOf } from './mutation/mutants.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

const chatTests = ['chat-mask', 'chat-places', 'chat-turns'].map((name) => `test/data/${name}.test.ts`)

/** Files, and the tests that are to notice: of vitest, or C++ programs that need nothing but headers. */
const subjects = [
  { file: 'lib/data/masks/chat-turns.ts', tests: chatTests },
  { file: 'lib/data/masks/turn-texts.ts', tests: chatTests },
  { file: 'lib/data/masks/token-spans.ts', tests: chatTests },
  { file: 'lib/data/packing.ts', tests: ['test/data/packing.test.ts'] },
  { file: 'lib/optim/schedule.ts', tests: ['test/optim/schedule.test.ts'] },
  { file: 'native/mora/geometry.h', tests: ['test/native/geometry.cpp', 'test/native/block_operations.cpp'] },
  { file: 'native/core/block_operations.h', tests: ['test/native/block_operations.cpp'] },
  { file: 'native/mora/windows.h', tests: ['test/native/windows.cpp'] },
  { file: 'native/core/window_operations.h', tests: ['test/native/block_operations.cpp'] },
]

/** A mutant whose tests take this many times as long as the file's own is taken for endless, which is noticed, too. */
const PATIENCE = 10
const MOST_SECONDS = 60

const wanted = process.argv.slice(2)
const chosen = subjects.filter(({ file }) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
const scratch = mkdtempSync(join(tmpdir(), 'mora-mutation-'))
const table = []
try {
  for (const subject of chosen) table.push(examine(subject))
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
console.table(table)
process.exitCode = table.length === 0 || table.some(({ survived }) => survived > 0) ? 1 : 0

function examine({ file, tests }) {
  const source = readFileSync(join(root, file), 'utf8')
  const notices = file.endsWith('.ts') ? noticedByVitest : noticedByPrograms
  const start = performance.now()
  if (notices(file, source, tests, MOST_SECONDS) !== 'nothing')
    throw new Error(`The tests of ${file} do not pass as it is.`)
  const limit = Math.min(MOST_SECONDS, Math.ceil((PATIENCE * (performance.now() - start)) / 1000))
  const row = { file, mutants: 0, noticed: 0, endless: 0, equivalent: 0, survived: 0 }
  const stale = new Set(equivalents[file])
  for (const mutant of mutantsOf(source, file)) {
    const found = notices(file, mutant.source, tests, limit)
    const known = equivalents[file]?.find((one) => mutant.text.includes(one))
    if (found === 'invalid') continue
    row.mutants++
    if (found === 'failure') row.noticed++
    else if (found === 'no end') {
      row.endless++
      // To be looked at: so does a machine that is busy with other things.
      console.log(`${file}:${mutant.line}: ${mutant.text} (no end)`)
    } else if (known) {
      row.equivalent++
      stale.delete(known)
    } else {
      row.survived++
      console.log(`${file}:${mutant.line}: ${mutant.text}`)
    }
  }
  for (const one of stale) console.log(`${file}: no mutant with "${one}" goes unnoticed; its entry can go`)
  // The next file's tests read this one as it is.
  rmSync(join(scratch, 'native'), { recursive: true, force: true })
  return row
}

/** vitest gets the mutant in place of the file (scripts/mutation/vitest.config.mjs). */
function noticedByVitest(file, source, tests, seconds) {
  const mutant = join(scratch, 'mutant.ts')
  writeFileSync(mutant, source)
  const run = spawnSync(
    process.execPath,
    [join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run', '--bail', '1', ...tests].concat(
      '--config',
      join(root, 'scripts', 'mutation', 'vitest.config.mjs'),
    ),
    {
      cwd: root,
      stdio: 'ignore',
      timeout: seconds * 1000,
      killSignal: 'SIGKILL',
      // A mutant that loops may take memory without end.
      env: {
        ...process.env,
        NODE_OPTIONS: '--max-old-space-size=2048',
        MORA_MUTATED: join(root, file),
        MORA_MUTANT: mutant,
      },
    },
  )
  return noticed(run)
}

/** The mutant lies in a folder of headers that comes before native/. */
function noticedByPrograms(file, source, tests, seconds) {
  const header = join(scratch, file)
  mkdirSync(dirname(header), { recursive: true })
  writeFileSync(header, source)
  const headers = ['-I', join(scratch, 'native'), '-I', join(root, 'native'), '-I', join(root, 'test', 'native')]
  for (const test of tests) {
    const program = join(scratch, 'program')
    const options = ['-std=c++20', '-O1', ...headers, join(root, test), '-o', program]
    if (spawnSync('c++', options, { stdio: 'ignore' }).status !== 0) return 'invalid'
    // A mutant that loops may take memory without end.
    const limited = `ulimit -v 4000000; exec "${program}"`
    const run = spawnSync('sh', ['-c', limited], {
      stdio: 'ignore',
      timeout: seconds * 1000,
      killSignal: 'SIGKILL',
      env: { ...process.env, MORA_TEST_BAIL: '1' },
    })
    if (run.status !== 0) return noticed(run)
  }
  return 'nothing'
}

function noticed({ status, signal }) {
  if (status === 0) return 'nothing'
  return signal === 'SIGKILL' ? 'no end' : 'failure'
}
