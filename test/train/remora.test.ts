/** ReMoRA and ReLoRA on the native core: runs that end before, at and after a merge resume bit for bit (T21). */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { initModel, loadModel, type Model } from '../../lib/models/index.js'
import type { TrainInput } from '../../lib/options/index.js'
import { train } from '../../lib/train/index.js'
import { drawn } from '../drawn.js'
import { goldenPath, readTensors } from '../golden/files.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'
import { stepsOf } from './steps-of.js'

const folder = useTemporaryFolder()
const device = process.env.MORA_TEST_DEVICE ?? 'cpu'
const path = goldenPath('tiny-untied/model')

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

const modules = ['embeddings', 'norms', 'head']
/** Name, options, the tolerance of losses of other forward passes, and the model if it is not the float32 one. */
const cases: [string, Partial<TrainInput>, number, (() => Promise<Model>)?][] = [
  ['MoRA', { cycle: ['sharing', 'rotation'], rank: 4 }, 2e-5],
  ['MoRA, permuted, with modules trained whole', { regroup: 'permute', rank: 4, modulesToSave: modules }, 2e-5],
  ['MoRA beside bfloat16 weights', { rank: 4 }, 2e-3, () => loadModel(path, { device, threads: 2, dtype: 'bfloat16' })],
  ['LoRA', { method: 'lora', rank: 4 }, 2e-5],
  ['LoRA with its first A again', { method: 'lora', rank: 4, reloraA: 'start' }, 2e-5],
  [
    'MoRA from scratch',
    { init: join(path, 'config.json'), rank: 4, modulesToSave: modules },
    2e-5,
    () => initModel(join(path, 'config.json'), { device, threads: 2, dtype: 'float32', seed: 1 }),
  ],
]

describe.each(cases)('%s, merged on the way', (name, changes, tolerance, make) => {
  const load = make ?? (() => loadModel(path, { device, threads: 2, dtype: 'float32' }))
  const optionsOf = (output: string): TrainInput => ({
    data: goldenPath('remora/remora-adapter.jsonl'),
    output: join(folder(), output),
    mergeEvery: 3,
    restartWarmupSteps: 1,
    learningRate: 2e-3,
    batchSize: 4,
    maxSteps: 8,
    dropout: 0.1,
    ...changes,
  })

  async function course(options: TrainInput, stopAfter?: number) {
    using model = await load()
    const steps = await stepsOf(train(model, options), stopAfter)
    return steps.map(({ step, loss, gradNorm }) => ({ step, loss, gradNorm }))
  }
  const modelBits = (output: string) => readFileSync(join(folder(), output, 'model', 'model.safetensors'))

  test('T21 resumes bit for bit after any step', async () => {
    const whole = await course(optionsOf('whole'))
    for (const stop of drawn(`stops of ${name}`, [2, 3, 4, 6, 7], 1)) {
      const output = `stopped-${stop}`
      const first = await course(optionsOf(output), stop)
      const second = await course({ ...optionsOf(output), resume: true })
      expect([...first, ...second], output).toEqual(whole)
      expect(modelBits(output).equals(modelBits('whole')), output).toBe(true)
    }
  })

  test('does not depend on how rows are split into forward passes', async () => {
    const packed = await course(optionsOf('packed'))
    const cut = await course({ ...optionsOf('cut'), microBatchSize: 1, packing: false })
    for (const [i, { loss }] of cut.entries()) {
      expect(Math.abs(loss / packed[i]!.loss - 1), `step ${i + 1}`).toBeLessThan(tolerance)
    }
  })

  test('keeps merged adapters, with operator and permutation', async () => {
    await course(optionsOf('out'))
    const merges = join(folder(), 'out', 'merges')
    const configs = readdirSync(merges).map((name) => readFileSync(join(merges, name, 'adapter_config.json'), 'utf8'))
    const stored = configs.map((config) => JSON.parse(config) as Record<string, unknown>)
    expect(stored.length).toBe(2)
    expect(stored.map((config) => config.modules_to_save)).toEqual([null, null])
    if (changes.regroup) {
      const seeds = stored.map((config) => config.mora_permutation)
      expect(seeds).toEqual([0, 1].map((cycle) => ({ seed: 42, cycle })))
    }
    if (changes.cycle) expect(stored.map((config) => config.mora_type)).toEqual([1, 6])
    const tensors = readTensors(join(merges, 'merge-0001', 'adapter_model.safetensors'))
    expect([...tensors.keys()].every((name) => /lora_[AB]\.weight$/.test(name))).toBe(true)
  })
})
