/**
 * Runs the TypeScript tests and the C++ tests under test/native, and ends with one line that counts both:
 * `N passed, N failed, N skipped`. The lines before it say what was skipped for lack of what.
 *
 *   npm test -- [--keep FILE] [ARGUMENTS OF VITEST]   with a file among these, only vitest runs; FILE gets each test's outcome
 *   npm test -- --added-to FILE [ARGUMENTS OF VITEST]   only tests that lacked data in the run that FILE has, counted with it
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { closingLine, filesForData, outcomesOf, whatWasMissing, withAdded } from './test/outcomes.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const extra = process.argv.slice(2)
const [keep, addedTo] = [optionOf('--keep'), optionOf('--added-to')]
const assets = process.env.MORA_TEST_ASSETS
// `npm test` has built dist before: scripts/prepare.sh.
const built = existsSync(join(root, 'dist', '.built')) ? { MORA_TEST_DIST: '1' } : {}

const outcomes = run()
if (keep) writeFileSync(keep, JSON.stringify(outcomes))
for (const sentence of whatWasMissing(outcomes)) console.log(sentence)
console.log(closingLine(outcomes))
process.exitCode = outcomes.some(({ status }) => status === 'failed') ? 1 : 0

/** Takes an option of this script, with its value, from those of vitest. */
function optionOf(name) {
  const at = extra.indexOf(name)
  return at < 0 ? undefined : extra.splice(at, 2)[1]
}

function run() {
  if (assets && !statSync(assets, { throwIfNoEntry: false })?.isDirectory())
    return failed(`Expected a folder in MORA_TEST_ASSETS but ${assets} is none.`)
  if (addedTo) {
    const first = JSON.parse(readFileSync(addedTo, 'utf8'))
    const files = filesForData(first)
    const parameters = [...files.map((file) => join(root, file)), ...extra]
    return files.length === 0
      ? first
      : withAdded(first, runVitest(parameters, { MORA_TEST_OUTCOMES: resolve(addedTo) }))
  }
  const all = [...runVitest(extra), ...(extra.length === 0 ? runNativeTests() : [])]
  return all.some(({ status }) => status !== 'skipped') ? all : [...all, ...failed('No test ran.')]
}

/** @returns {import('./test/outcomes.mjs').Outcome[]} */
function failed(sentence) {
  console.error(sentence)
  return [{ file: '', name: sentence, status: 'failed' }]
}

function runVitest(parameters, environment = {}) {
  const scratch = mkdtempSync(join(tmpdir(), 'mora-test-'))
  const report = join(scratch, 'report.json')
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs')
  const { status } = spawnSync(
    process.execPath,
    [vitest, 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...parameters],
    { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], env: { ...built, ...process.env, ...environment } },
  )
  const outcomes = existsSync(report) ? outcomesOf(JSON.parse(readFileSync(report, 'utf8')), root) : []
  rmSync(scratch, { recursive: true, force: true })
  // A crash, or an error outside of every test, is a failure too.
  const isKnown = status === 0 || outcomes.some((outcome) => outcome.status === 'failed')
  return isKnown ? outcomes : [...outcomes, ...failed(`vitest ended with ${status}.`)]
}

/** @returns {import('./test/outcomes.mjs').Outcome[]} */
function runNativeTests() {
  const sources = join(root, 'test', 'native')
  const files = existsSync(sources)
    ? readdirSync(sources, { encoding: 'utf8', recursive: true }).filter((file) => file.endsWith('.cpp'))
    : []
  if (files.length === 0) return []
  const folder = join(root, 'build', 'cmake', 'Release')
  const lackOf = (file) => {
    if (!file.startsWith('cuda')) return null
    if (!existsSync(join(root, 'build', 'Release', 'mora_cuda_emulated.so')))
      return 'the emulator of CUDA (npm run build emulated)'
    // The kernels' tests are for a GPU and for sanitizers (test/simt); test/operations has run the same kernels.
    return file.startsWith(join('cuda', 'runtime')) || process.env.MORA_TEST_LONG ? null : 'MORA_TEST_LONG=1'
  }
  const built = files.filter((file) => lackOf(file) === null)
  const nameOf = (file) => basename(file, '.cpp')
  const targets = ['--target', ...built.map(nameOf)]
  const compiled = succeeds('cmake', ['--build', folder, '--parallel', process.env.MORA_JOBS ?? '2', ...targets])
  return files.map((name) => {
    const file = `test/native/${name}`
    const needs = lackOf(name)
    if (needs !== null) return { file, name: '', status: 'skipped', needs }
    const status = compiled && succeeds(join(folder, nameOf(name)), []) ? 'passed' : 'failed'
    console.log(` ${status === 'passed' ? '✓' : '✗'} ${file}`)
    return { file, name: '', status }
  })
}

function succeeds(command, parameters) {
  return spawnSync(command, parameters, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] }).status === 0
}
