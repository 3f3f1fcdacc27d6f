/**
 * A device that breaks, fills up or whose cuBLAS fails at any moment of a run: the run ends by itself, with a sentence that
 * says why. The emulator injects the errors (test/simt/runtime/settings.h).
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { drawn } from '../drawn.js'
import { goldenPath } from '../golden/files.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, lacksEmulation, needing } from '../needs.js'

const command = join(import.meta.dirname, '..', '..', 'dist', 'cli', 'main.js')
const temporary = useTemporaryFolder()

/** Numbers of calls that fail: the first few, and others up to the last of a run, drawn from the seed. */
function moments(first: number, last: number, others: number): number[] {
  const count = process.env.MORA_TEST_LONG ? 20 * others : others
  const random = randomStream(Number(process.env.MORA_TEST_SEED ?? 1), `moments up to ${last}`)
  return [
    ...Array.from({ length: first }, (_, i) => i + 1),
    ...Array.from({ length: count }, () => first + 1 + random.integer(last - first)),
  ]
}

/** A short run on the emulated device with that fault. A run that hangs is killed, and then has no exit code. */
function trainedWith(fault: Record<string, string>): SpawnSyncReturns<string> {
  const options = {
    model: goldenPath('tiny-untied/model'),
    data: goldenPath('tiny-untied/training/rotation-cosine/rows.jsonl'),
    output: join(temporary(), 'out'),
    device: 'cuda',
    dtype: 'float32',
    rank: 2,
    'max-steps': 2,
    'batch-size': 4,
  }
  const flags = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])
  return spawnSync(process.execPath, [command, 'train', '--overwrite', ...flags], {
    env: { ...process.env, ...fault },
    encoding: 'utf8',
    timeout: 90_000,
  })
}

/** Exit code 1, a sentence that matches, and no adapter. */
function expectFailure({ status, signal, stderr }: SpawnSyncReturns<string>, sentence: RegExp): void {
  expect(signal, stderr).toBeNull()
  expect(stderr).toMatch(sentence)
  expect([1, 2], stderr).toContain(status)
  const output = join(temporary(), 'out')
  const written = existsSync(output) ? readdirSync(output) : []
  expect(written).not.toContain('adapter_model.safetensors')
  expect(written).not.toContain('.lock')
}

needing(lacksEmulation, lacksBuild).describe('a run whose device', () => {
  test('has no fault makes as many calls as the faults below are spread over', () => {
    const { status, stderr } = trainedWith({ MORA_SIMT_FAULT: '700@20000' })
    expect(status, stderr).toBe(0)
    expectFailure(trainedWith({ MORA_SIMT_FAULT: '700@2300' }), /an illegal memory access/)
  })

  test.each(drawn('lost calls', moments(3, 2300, 4), 2))(
    'is lost at its call %i ends, and says that an earlier operation is the cause',
    (call) => {
      expectFailure(
        trainedWith({ MORA_SIMT_FAULT: `700@${call}` }),
        /an illegal memory access was encountered( \(CUDA error 700\) in an earlier operation; .*CUDA_LAUNCH_BLOCKING=1|\.$)/m,
      )
    },
  )

  test.each(drawn('errors of a device', [702, 710, 715, 716, 719], 1))('is lost with error %i ends', (error) => {
    expectFailure(trainedWith({ MORA_SIMT_FAULT: `${error}@900` }), new RegExp(`CUDA error ${error}\\)`))
  })

  test('is lost names the operation where launches wait for their kernels', () => {
    const { stderr } = trainedWith({ MORA_SIMT_FAULT: '700@1500', CUDA_LAUNCH_BLOCKING: '1' })
    expect(stderr).toMatch(/[a-zA-Z]+ failed: an illegal memory access was encountered \(CUDA error 700\)/)
    expect(stderr).not.toMatch(/earlier operation/)
  })

  test.each(drawn('allocations that fail', moments(5, 12, 1), 1))(
    'has no memory left at allocation %i says so, or manages with less',
    (call) => {
      const run = trainedWith({ MORA_SIMT_ALLOCATION_FAULT: String(call) })
      if (run.status !== 0) expectFailure(run, /[Oo]ut of memory|no memory left/)
    },
  )

  const answers: [string, RegExp][] = [
    ['1@1', /^mora: Device cuda:0 could not be opened: cublasCreate failed in .*: the library was not initialized\.$/m],
    ['14@1', /could not be opened: cublasCreate failed in .*: an internal operation failed/],
    ['13@2', /cublasGemm(StridedBatched)?Ex: /],
    ['14@40', /cublasGemm(StridedBatched)?Ex: an internal operation failed/],
    ['15@90', /cublasGemm(StridedBatched)?Ex: the combination of types is not supported/],
  ]
  test.each(drawn('answers of cuBLAS', answers, 1))('has a cuBLAS that answers %s says so', (fault, sentence) => {
    expectFailure(trainedWith({ MORA_SIMT_CUBLAS_FAULT: fault }), sentence)
  })

  test('cannot run the code of this build says which code there is', () => {
    expectFailure(
      trainedWith({ MORA_SIMT_CODE: '0', MORA_SIMT_CAPABILITY: '87' }),
      /could not be opened: the CUDA backend was built for the architectures .* and Emulated GPU 0 is 87; build it with "CUDAARCHS=87 /,
    )
  })

  test.each(drawn('capabilities', [86, 87, 89, 120], 1))(
    'has the shared memory of compute capability %i trains',
    (capability) => {
      const { status, stderr } = trainedWith({ MORA_SIMT_CAPABILITY: String(capability) })
      expect(status, stderr).toBe(0)
    },
  )
})
