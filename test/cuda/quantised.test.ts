/** Training on quantised weights on a GPU against a CPU: blocks that are made while loading, and codes of checkpoints. */
import { afterAll, describe, expect, test } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { mora } from '../../lib/adapters/methods/mora.js'
import { QUANTISE_FORMATS } from '../../lib/models/formats.js'
import { loadModel } from '../../lib/models/index.js'
import type { LoadOptions } from '../../lib/models/load-model.js'
import { describeGolden, goldenPath, largestDifference, largestOf } from '../golden/files.js'
import { batchOf, logProbsOf } from '../golden/tiny-models.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

// The sets have 320 tokens. CPUs round activations in products of 8 rows or fewer with blocks.
const sequences = [13, 9].map((length) => Array.from({ length }, (_, i) => (37 * i * i + 11 * length) % 320))
const batch = batchOf(sequences.map((input_ids) => ({ input_ids })))
const kinds = ['nf4-double', 'int8'].map((name) => `bnb-${name}`)
const sets = [...kinds, 'bnb-fp4', 'gptq-4-g32-asym-zero', 'awq-g32', 'ct-int4-g32-act', 'ct-fp8-channel', 'fp8-block']

/** Log-probabilities, the loss and each parameter's gradient with two adapters that are not at zero. */
async function computed(device: 'cpu' | 'cuda', path: string, options: LoadOptions): Promise<Float32Array[]> {
  using model = await loadModel(path, { ...options, device, threads: 2 })
  expect(model.slots.some(({ own }) => own.floats === null)).toBe(true)
  model.addAdapter('a', lora({ rank: 2 }), { seed: 5 })
  model.addAdapter('b', mora({ rank: 2, operator: 'rotation' }), { seed: 6 })
  const parameters = model.trainableParameters().map(({ parameter }) => parameter)
  for (const parameter of parameters)
    parameter.assign(Float32Array.from({ length: parameter.elements }, (_, i) => Math.sin(i * i + 1) / 10))
  const logProbs = Float32Array.from((await logProbsOf(model, sequences)).flat())
  const { loss } = model.loss(batch)
  await loss.backward()
  const gradients = parameters.map(({ grad }) => grad!.data() as Promise<Float32Array>)
  const results = [logProbs, Float32Array.of(await loss.item()), ...(await Promise.all(gradients))]
  loss.dispose()
  return results
}

describe.each(QUANTISE_FORMATS)('%s', (quantise) => losses(goldenPath('tiny-untied/model'), { quantise }))
describeGolden('quantised', sets, (_, path) => losses(path, { quantised: true }))

function losses(path: string, options: LoadOptions): void {
  test.each([
    ['float32', 1e-5],
    ['bfloat16', 5e-2],
  ] as const)('in %s, losses and gradients on a GPU are those on a CPU', async (dtype, most) => {
    const onCpu = await computed('cpu', path, { ...options, dtype })
    const onGpu = await computed('cuda', path, { ...options, dtype })
    expect(onCpu.length).toBeGreaterThan(20)
    for (const [i, values] of onCpu.entries()) {
      const largest = largestOf(values)
      expect(largest, `values of ${i}`).toBeGreaterThan(1e-3)
      expect(largestDifference(onGpu[i]!, values) / largest, `values of ${i}`).toBeLessThan(most)
    }
  })
}
