/**
 * Reports which lines and branches the tests run: of lib/ by V8's counts, of native/ by gcov's, including the CUDA sources on
 * the emulator. Prints a table for each, by folder. Arguments go to vitest; with a file among them, C++ programs are left out.
 *
 *   npm run check coverage                       everything
 *   npm run check coverage -- --project cpu test/rows
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { linesOfNative } from './coverage/gcov.mjs'
import { printFolders } from './coverage/table.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const build = join(root, 'build-coverage')
const report = join(root, 'coverage')
const extra = process.argv.slice(2)
const isWhole = extra.every((argument) => argument.startsWith('-'))

const environment = {
  ...process.env,
  MORA_BUILD_CUDA: 'OFF',
  MORA_BINARY: join(build, 'Debug', 'mora.node'),
  MORA_COVERAGE: '1',
}
const run = (command, ...given) =>
  spawnSync(command, given, { cwd: root, stdio: 'inherit', env: environment }).status === 0

for (const what of [[], ['--emulated']])
  if (!run(process.execPath, join(root, 'scripts', 'build-native.mjs'), '--coverage', ...what)) process.exit(1)
for (const name of readdirSync(build, { encoding: 'utf8', recursive: true }))
  if (name.endsWith('.gcda')) rmSync(join(build, name))

const passed = [runVitest(), isWhole ? runPrograms() : true]
printFolders('TypeScript', linesOfLibrary())
printFolders('C++ and CUDA', await linesOfNative(root, build))
if (passed.includes(false)) console.error('Some tests have failed; see above.')
process.exitCode = passed.includes(false) ? 1 : 0

function runVitest() {
  const options = ['enabled', 'provider=v8', 'include=lib/**/*.ts', 'reporter=json-summary', 'reportOnFailure']
  return run(
    process.execPath,
    join(root, 'node_modules', 'vitest', 'vitest.mjs'),
    'run',
    ...options.map((option) => `--coverage.${option}`),
    `--coverage.reportsDirectory=${report}`,
    ...extra,
  )
}

function runPrograms() {
  const names = readdirSync(join(root, 'test', 'native'), { encoding: 'utf8', recursive: true })
    .filter((file) => file.endsWith('.cpp'))
    .map((file) => basename(file, '.cpp'))
  const folder = join(build, 'cmake', 'Debug')
  return run('cmake', '--build', folder, '--target', ...names) && names.every((name) => run(join(folder, name)))
}

function linesOfLibrary() {
  const { total: _, ...files } = JSON.parse(readFileSync(join(report, 'coverage-summary.json'), 'utf8'))
  return Object.entries(files).map(([file, { lines, branches }]) => ({
    file: relative(root, file),
    lines: { all: lines.total, run: lines.covered },
    branches: { all: branches.total, run: branches.covered },
  }))
}
