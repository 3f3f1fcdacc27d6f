/** Parts of the GPU check that compare results: the tests of every device, the kernels' own tests, and races. */
import { existsSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { inTurn, statusOf } from './budget.mjs'
import { folder, runProgram, runScript } from './child.mjs'

const files = JSON.parse(readFileSync(join(folder, 'tests.json'), 'utf8'))
/** Runs all cases, of which `npm test` draws a part. */
const environment = { MORA_TEST_DEVICE: 'cuda', MORA_SIMT_DEVICES: '2', MORA_TEST_LONG: '1' }

/** A few tests of each kind, for `--quick`. */
const quickTests = /^(rope|groupSum|matmul) .*\[?\d|rotation-64x64-r2|log-probabilities without|rmsNorm with a frozen/

const andLeftOut = ({ length }) => (length > 0 ? `, ${length} left out` : '')

/** Every test that runs on any device: operations, gradients, golden layers and models, memory. */
export async function operationTests({ quick }, { budget, note }) {
  const only = quick ? ['--only', quickTests.source] : []
  const chosen = quick
    ? files.filter((file) => /operations\/(operations|gradients)\.|golden\/(layer|tiny-inference)/.test(file))
    : files
  const count = (results, key) => results.reduce((sum, result) => sum + result[key], 0)
  const sum = (results, leftOut = []) => ({
    status: statusOf(results, leftOut),
    summary: `${['passed', 'failed', 'skipped'].map((key) => `${count(results, key)} ${key}`).join(', ')}${andLeftOut(leftOut)}`,
    files: results,
    leftOut,
  })
  const run = async (file, noteFile) => {
    const options = { environment, budget, note: (soFar) => noteFile({ ...soFar, status: 'running' }) }
    const { status, ending, result } = await runScript('scripts/check-gpu/run-tests.mjs', [file, ...only], options)
    const found = result ?? { file, passed: 0, failed: 0, skipped: 0, failures: [] }
    if (status !== 'failed' || found.failed > 0) return { ...found, status }
    const failures = [...found.failures, { name: '(the process)', message: ending }]
    return { ...found, status, failed: 1, failures }
  }
  const { results, leftOut } = await inTurn(chosen, { budget, note: (soFar) => note(sum(soFar)) }, run)
  return sum(results, leftOut)
}

/** The C++ tests of single kernels, if they were built: one program that runs the test named in its argument. */
export async function kernelTests({ emulated }, { budget, note }) {
  if (emulated) return skipped('on the emulator they are part of npm test')
  const program = process.env.MORA_KERNEL_TESTS
  if (!program || !existsSync(program)) return skipped('they were not built for a GPU ("npm run build gpu-tests")')
  const of = (results, status) => results.filter((result) => result.status === status).length
  const sum = (results, leftOut = []) => ({
    status: statusOf(results, leftOut),
    summary: `${of(results, 'passed')} of ${results.length} passed${andLeftOut(leftOut)}`,
    programs: results,
    leftOut,
  })
  const { stdout } = await runProgram([program], { budget, quiet: true })
  const { results, leftOut } = await inTurn(
    stdout.trim().split('\n'),
    { budget, note: (soFar) => note(sum(soFar)) },
    async (name) => {
      const { status, ending, cut, stderr } = await runProgram([program, name], { budget, quiet: true })
      process.stderr.write(stderr)
      return {
        name,
        status: status === 0 ? 'passed' : cut ? 'cut short' : 'failed',
        ending,
        output: stderr.slice(0, 4000),
      }
    },
  )
  return sum(results, leftOut)
}

/** Small tests that launch every kernel, under NVIDIA's checkers of memory accesses and of races in shared memory. */
const sanitized = ['test/operations/gradients.test.js', 'test/golden/layer.test.js', 'test/golden/gguf-blocks.test.js']
const mostSanitizerSeconds = 15 * 60

export async function sanitizers({ emulated }, { budget, note }) {
  if (emulated) return skipped('the emulator has its own')
  const program = computeSanitizer()
  if (program === null) return skipped('compute-sanitizer was not found in PATH, CUDA_HOME or /usr/local/cuda')
  const sum = (runs, leftOut = []) => ({
    status: statusOf(runs, leftOut),
    summary: found(runs, leftOut),
    runs,
    leftOut,
  })
  const wanted = ['memcheck', 'racecheck'].flatMap((tool) => sanitized.map((file) => ({ tool, file })))
  const limits = { budget: budget.share(mostSanitizerSeconds), note: (soFar) => note(sum(soFar)), fair: true }
  const { results, leftOut } = await inTurn(wanted, limits, async ({ tool, file }, noteRun, own) => {
    const before = [program, '--tool', tool, '--error-exitcode', '9', '--target-processes', 'application-only']
    const progress = ({ passed }) => noteRun({ tool, file, status: 'running', tests: passed })
    const options = { environment, before, budget: own, note: progress }
    const { status, ending, result } = await runScript('scripts/check-gpu/run-tests.mjs', [file], options)
    return { tool, file, status, ending, tests: result?.passed ?? 0 }
  })
  return sum(results, leftOut)
}

function found(runs, leftOut) {
  const failed = runs.filter(({ status }) => status === 'failed').map(({ tool, file }) => `${tool} of ${file}`)
  const cut = runs.filter(({ status }) => status === 'cut short').length
  const what = failed.length > 0 ? `failed: ${failed.join(', ')}` : 'nothing found'
  return `${what}${cut > 0 ? `, ${cut} cut short` : ''}${andLeftOut(leftOut)}`
}

function computeSanitizer() {
  const homes = [process.env.CUDA_HOME, '/usr/local/cuda'].filter((home) => home !== undefined)
  const places = [
    ...(process.env.PATH ?? '').split(delimiter),
    ...homes.flatMap((home) => [join(home, 'bin'), join(home, 'compute-sanitizer')]),
  ]
  return places.map((place) => join(place, 'compute-sanitizer')).find((path) => existsSync(path)) ?? null
}

function skipped(why) {
  return { status: 'skipped', summary: why }
}
