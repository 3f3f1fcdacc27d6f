/**
 * The tests of CUDA kernels (test/native/cuda) on the emulator, compiled with sanitizers: AddressSanitizer and
 * UndefinedBehaviorSanitizer see what is out of bounds or undefined, ThreadSanitizer races between threads and blocks.
 * Compiling alone takes minutes, and ThreadSanitizer up to 8 GB of memory: `npm run test:long` runs them. `npm test` shows that
 * each sanitizer sees faults (faults.test.ts), and runs the same kernels without them (test/operations).
 */
import { readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, expect, it } from 'vitest'
import { lacksEmulated, lacksLong, needing } from '../needs.js'
import { lacksFibers, run } from './programs.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const minutes = 60_000

const programs = readdirSync(join(root, 'test', 'native', 'cuda'), { encoding: 'utf8', recursive: true })
  .map((file) => basename(file))
  .filter((name) => /^cuda_.*\.cpp$/.test(name))
  .map((name) => basename(name, '.cpp'))
  .sort()

async function build(folder: string, targets: readonly string[]): Promise<void> {
  const built = await run('cmake', ['--build', folder, '--parallel', '2', '--target', ...targets])
  expect(built.succeeds, built.text).toBe(true)
}

// What the backend makes once lives as long as the process, and is no leak.
const environment = { ASAN_OPTIONS: 'detect_leaks=0' }

needing(lacksFibers, lacksLong).describe.each(['address', 'thread'])(
  'CUDA kernels with the %s sanitizer',
  (sanitizer) => {
    const folder = join(root, 'build', 'sanitized', sanitizer)

    beforeAll(async () => {
      const names = sanitizer === 'address' ? 'address,undefined' : sanitizer
      const options = ['-DMORA_CUDA=OFF', '-DMORA_EMULATED=ON', `-DMORA_SANITIZE=${names}`]
      const configured = await run('cmake', ['-S', root, '-B', folder, ...options])
      expect(configured.succeeds, configured.text).toBe(true)
      await build(folder, programs)
    }, 25 * minutes)

    it.each(programs)('%s finds nothing', { timeout: 10 * minutes }, async (program) => {
      const { succeeds, text } = await run(join(folder, program), [], environment)
      expect(succeeds, text).toBe(true)
    })

    it('every kernel can be timed', { timeout: 25 * minutes }, () => expectTimes(folder))
  },
)

const release = join(root, 'build', 'cmake', 'Release')
needing(lacksEmulated, lacksLong).test('every kernel can be timed', { timeout: 10 * minutes }, () =>
  expectTimes(release),
)

/** Runs the benchmark of kernels. Checks operands and arithmetic, not times, which mean nothing here. */
async function expectTimes(folder: string): Promise<void> {
  await build(folder, ['emulated_kernel_bench'])
  const bench = join(folder, 'emulated_kernel_bench')
  const { succeeds, text } = await run(bench, ['all', '--tiny', '--repeats', '2'], environment)
  expect(succeeds, text).toBe(true)
  const operations = (await run(bench, [], environment)).text.trim().split('\n')
  const [device, , ...lines] = text.trim().split('\n')
  expect(device).toMatch(/^Emulated GPU 0, at best 3352 GB\/s and 32\.4 TFLOP\/s/)
  expect(operations.filter((operation) => !lines.some((line) => line.startsWith(operation)))).toEqual([])
  expect(lines.filter((line) => !/^\w+ +tiny \d+(x\d+)*.* +\d+\.\d +\d+\.\d +\d+\.\d /.test(line))).toEqual([])
}
