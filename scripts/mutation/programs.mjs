/** Mutants of C++ headers: each lies in a folder that comes before native/, and programs are compiled with it and run. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { mutantsOf } from './mutants.mjs'

/** A mutant whose tests take this many times as long as the original's counts as endless, hence noticed. */
const PATIENCE = 10
const MOST_SECONDS = 60

/**
 * @param {string} root
 * @param {{ file: string, tests: string[] }[]} subjects
 * @returns {import('./judge.mjs').Mutant[]}
 */
export function programMutants(root, subjects) {
  const scratch = mkdtempSync(join(tmpdir(), 'mora-mutation-'))
  try {
    return subjects.flatMap((subject) => mutantsOfHeader(root, scratch, subject))
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

function mutantsOfHeader(root, scratch, { file, tests }) {
  const source = readFileSync(join(root, file), 'utf8')
  const header = join(scratch, file)
  const fateOf = (text, seconds) => {
    mkdirSync(dirname(header), { recursive: true })
    writeFileSync(header, text)
    return fateOfHeader({ root, scratch, tests, seconds })
  }
  const start = performance.now()
  if (fateOf(source, MOST_SECONDS) !== 'unnoticed') throw new Error(`The tests of ${file} do not pass as it is.`)
  const limit = Math.min(MOST_SECONDS, Math.ceil((PATIENCE * (performance.now() - start)) / 1000))
  const mutants = mutantsOf(source).flatMap(({ source: changed, line, text }) => {
    const fate = fateOf(changed, limit)
    return fate === 'invalid' ? [] : [{ file, line, text, fate }]
  })
  // The next header's tests read this one unchanged.
  rmSync(header)
  return mutants
}

/** @returns {'noticed' | 'endless' | 'unnoticed' | 'invalid'} */
function fateOfHeader({ root, scratch, tests, seconds }) {
  const headers = ['-I', join(scratch, 'native'), '-I', join(root, 'native'), '-I', join(root, 'test', 'native')]
  for (const test of tests) {
    const program = join(scratch, 'program')
    const options = ['-std=c++20', '-O1', ...headers, join(root, test), '-o', program]
    if (spawnSync('c++', options, { stdio: 'ignore' }).status !== 0) return 'invalid'
    // A looping mutant may allocate memory without end.
    const { status, signal } = spawnSync('sh', ['-c', `ulimit -v 4000000; exec "${program}"`], {
      stdio: 'ignore',
      timeout: seconds * 1000,
      killSignal: 'SIGKILL',
      env: { ...process.env, MORA_TEST_BAIL: '1' },
    })
    if (status !== 0) return signal === 'SIGKILL' ? 'endless' : 'noticed'
  }
  return 'unnoticed'
}
