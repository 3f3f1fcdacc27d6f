/** Parts of the GPU check that compare results: the tests of every device, the kernels' own tests, and races. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { folder, runScript } from './child.mjs'

const files = JSON.parse(readFileSync(join(folder, 'tests.json'), 'utf8'))
const environment = { MORA_TEST_DEVICE: 'cuda', MORA_SIMT_DEVICES: '2' }

/** A few tests of each kind, for `--quick`. */
const quickTests = /^(rope|groupSum|matmul) .*\[?\d|rotation-64x64-r2|log-probabilities without|rmsNorm with a frozen/

/** Every test that runs on any device: operations, gradients, golden layers and models, memory. */
export function operationTests({ quick }) {
  const only = quick ? ['--only', quickTests.source] : []
  const chosen = quick ? files.filter((file) => /operations\/|golden\/(layer|tiny-inference)/.test(file)) : files
  const results = chosen.map((file) => {
    const { result, ending } = runScript('scripts/check-gpu/run-tests.mjs', [file, ...only], { environment })
    return result ?? { file, passed: 0, failed: 1, skipped: 0, failures: [{ name: '(the process)', message: ending }] }
  })
  const count = (key) => results.reduce((sum, result) => sum + result[key], 0)
  const failed = results.some((result) => result.failed > 0 || result.passed === 0)
  return {
    status: failed ? 'failed' : 'passed',
    summary: `${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped`,
    files: results,
  }
}

/** The C++ tests of single kernels, one program that runs the test it is given the name of, where it was built. */
export function kernelTests({ emulated }) {
  if (emulated) return skipped('on the emulator they are part of npm test')
  const program = process.env.MORA_KERNEL_TESTS
  if (!program || !existsSync(program)) return skipped('they were not built for a GPU ("npm run build:gpu-tests")')
  const run = (name) => spawnSync(program, name ? [name] : [], { encoding: 'utf8', timeout: 600_000 })
  const results = run()
    .stdout.trim()
    .split('\n')
    .map((name) => {
      const { status, signal, stderr } = run(name)
      process.stderr.write(stderr)
      return {
        name,
        status: status === 0 ? 'passed' : 'failed',
        ending: signal ?? status,
        output: stderr.slice(0, 4000),
      }
    })
  const failed = results.filter(({ status }) => status === 'failed')
  return {
    status: failed.length > 0 ? 'failed' : 'passed',
    summary: `${results.length - failed.length} of ${results.length} passed`,
    programs: results,
  }
}

/** Small tests that launch every kernel, under NVIDIA's checkers of memory accesses and of races in shared memory. */
const sanitized = ['test/operations/gradients.test.js', 'test/golden/layer.test.js', 'test/golden/gguf-blocks.test.js']

export function sanitizers({ emulated }) {
  if (emulated) return skipped('the emulator has its own')
  const program = computeSanitizer()
  if (program === null) return skipped('compute-sanitizer was not found in PATH, CUDA_HOME or /usr/local/cuda')
  const runs = ['memcheck', 'racecheck'].flatMap((tool) =>
    sanitized.map((file) => {
      const before = [program, '--tool', tool, '--error-exitcode', '9', '--target-processes', 'application-only']
      const { passed, result, ending } = runScript('scripts/check-gpu/run-tests.mjs', [file], { environment, before })
      return { tool, file, status: passed ? 'passed' : 'failed', ending, tests: result?.passed ?? 0 }
    }),
  )
  const failed = runs.filter(({ status }) => status === 'failed')
  return {
    status: failed.length > 0 ? 'failed' : 'passed',
    summary: failed.length > 0 ? failed.map(({ tool, file }) => `${tool} of ${file}`).join(', ') : 'nothing found',
    runs,
  }
}

function computeSanitizer() {
  const homes = [process.env.CUDA_HOME, '/usr/local/cuda'].filter(Boolean)
  const places = [
    ...(process.env.PATH ?? '').split(delimiter),
    ...homes.flatMap((home) => [join(home, 'bin'), join(home, 'compute-sanitizer')]),
  ]
  return places.map((place) => join(place, 'compute-sanitizer')).find((path) => existsSync(path)) ?? null
}

function skipped(why) {
  return { status: 'skipped', summary: why }
}
