/**
 * Runs the TypeScript tests and the C++ tests under test/native, and ends with one line that counts both:
 * `N passed, N failed, N skipped`. Arguments go to vitest; with a file among them, only vitest runs.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const extra = process.argv.slice(2)
const counts = { passed: 0, failed: 0, skipped: 0 }

runVitest()
if (extra.length === 0) runNativeTests()
if (counts.passed + counts.failed === 0) {
  console.error('No test ran.')
  counts.failed++
}
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`)
process.exitCode = counts.failed > 0 ? 1 : 0

function runVitest() {
  const scratch = mkdtempSync(join(tmpdir(), 'mora-test-'))
  const report = join(scratch, 'report.json')
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs')
  const { status } = spawnSync(
    process.execPath,
    [vitest, 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...extra],
    { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] },
  )
  const failedBefore = counts.failed
  if (existsSync(report)) addReport(JSON.parse(readFileSync(report, 'utf8')))
  // A crash, or an error outside of every test, is a failure too.
  if (status !== 0 && counts.failed === failedBefore) counts.failed++
  rmSync(scratch, { recursive: true, force: true })
}

function addReport({ testResults, numPassedTests, numFailedTests, numPendingTests, numTodoTests }) {
  counts.passed += numPassedTests
  counts.failed += numFailedTests
  counts.skipped += numPendingTests + numTodoTests
  // A file that cannot be loaded has no tests to count.
  const broken = testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0)
  counts.failed += broken.length
}

function runNativeTests() {
  const sources = join(root, 'test', 'native')
  const files = existsSync(sources)
    ? readdirSync(sources, { encoding: 'utf8', recursive: true }).filter((file) => file.endsWith('.cpp'))
    : []
  if (files.length === 0) return
  const folder = join(root, 'build', 'cmake', 'Release')
  // What runs on the CUDA emulator needs it built.
  const emulated = existsSync(join(root, 'build', 'Release', 'mora_cuda_emulated.so'))
  const built = files.filter((file) => emulated || !file.startsWith('cuda'))
  const skipped = files.filter((file) => !built.includes(file))
  const nameOf = (file) => basename(file, '.cpp')
  const targets = ['--target', ...built.map(nameOf)]
  const compiled = run('cmake', ['--build', folder, '--parallel', process.env.MORA_JOBS ?? '2', ...targets])
  for (const file of skipped) console.log(` - test/native/${file}: skipped, "npm run build:emulated" was not run`)
  counts.skipped += skipped.length
  for (const file of built) {
    const passed = compiled && run(join(folder, nameOf(file)), [])
    counts[passed ? 'passed' : 'failed']++
    console.log(` ${passed ? '✓' : '✗'} test/native/${file}`)
  }
}

function run(command, commandArguments) {
  return spawnSync(command, commandArguments, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] }).status === 0
}
