/** Models whose weights stay in the codes of their checkpoint, against the same models with the codes' values. */
import { afterAll, describe, expect, test } from 'vitest'
import { lora } from '../../../lib/adapters/methods/lora.js'
import { newAdapterConfig } from '../../../lib/adapters/new-adapter.js'
import { loadModel } from '../../../lib/models/index.js'
import { Weights } from '../../../lib/models/load/weights.js'
import { Model } from '../../../lib/models/model.js'
import { ModelSource } from '../../../lib/models/read/model-source.js'
import type { FloatDType } from '../../../lib/native/addon.js'
import { AdamW } from '../../../lib/optim/adamw.js'
import { ADAPTER_METHODS, newAdapterOptions } from '../../../lib/options/index.js'
import { Tensor } from '../../../lib/tensor/tensor.js'
import { weightOf } from '../../../lib/tensor/weight.js'
import { describeGolden, goldenJson, goldenPath, largestDifference, largestOf } from '../../golden/files.js'
import { batchOf, logProbsOf, takeSteps } from '../../golden/tiny-models.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'
import { quantisedSets } from '../read/quantised-sets.js'

const device = testDevice()
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

const folderOf = (set: string) => goldenPath(`quantised/${set}`)
const sequencesOf = (set: string) => goldenJson<{ sequences: number[][] }>(`quantised/${set}/expected.json`).sequences

const load = (set: string, quantised: boolean, dtype: FloatDType = 'float32') =>
  loadModel(folderOf(set), { device: device.kind as 'cpu' | 'cuda', threads: 2, dtype, quantised })

/** The values of the codes, in the same separate products as the codes. */
async function withValues(set: string): Promise<Model> {
  const source = await ModelSource.open(folderOf(set))
  const loadInto = (name: string, into: Tensor) => source.loadInto(name, into)
  const loadKept = ([name, ...others]: readonly string[]) => {
    if (others.length > 0) return null
    const values = Tensor.empty(source.shape(name!), { device })
    loadInto(name!, values)
    return weightOf(values)
  }
  const keptFormat = (name: string) => source.keptFormat(name)
  const weights = new Weights({ config: source.config, loadInto, keptFormat, loadKept }, device, 'float32', true)
  return new Model({ tokenizer: null, weights, source })
}

const lossOf = ([loss]: readonly Float32Array[]) => loss![0]!
const normOf = ([, ...gradients]: readonly Float32Array[]) =>
  Math.sqrt(gradients.reduce((sum, values) => values.reduce((part, value) => part + value * value, sum), 0))

/** Loss and gradients of each of 20 steps beside LoRA. */
async function train(model: Model, set: string): Promise<Float32Array[][]> {
  model.addAdapter('a', lora({ rank: 2 }), { seed: 5 })
  const batch = batchOf(sequencesOf(set).map((input_ids) => ({ input_ids })))
  const parameters = model.trainableParameters().map(({ parameter }) => parameter)
  const optimizer = new AdamW(parameters)
  const steps: Float32Array[][] = []
  for (let step = 0; step < 20; step++) {
    const { loss, targetTokens } = model.loss(batch)
    await loss.backward()
    const gradients = await Promise.all(parameters.map(({ grad }) => grad!.data() as Promise<Float32Array>))
    steps.push([Float32Array.of(await loss.item()), ...gradients])
    loss.dispose()
    optimizer.step({ learningRate: 3e-3, scaleGradients: 1 / targetTokens }).dispose()
  }
  optimizer.dispose()
  return steps
}

describeGolden('quantised', quantisedSets, (set) => {
  test('losses and gradients of 20 steps are those of its values', async () => {
    using floats = await load(set, false)
    const taken = liveBytes(device)
    using codes = await load(set, true)
    const kept = codes.slots.filter(({ own }) => own.floats === null)
    const { quantised } = goldenJson<{ quantised: number }>(`quantised/${set}/expected.json`)
    expect(kept.length).toBe(quantised)
    const { weights } = await ModelSource.open(folderOf(set))
    for (const { name, own } of kept) {
      const bytes = own.tensors.reduce((sum, tensor) => sum + tensor.elements * (tensor.dtype === 'uint8' ? 1 : 4), 0)
      expect(own.storage).toBe(weights.get(name)!.dtype)
      // Zeros of 4 bits take a byte, and every matrix has its table.
      expect(bytes - 1400, name).toBeLessThan(1.3 * weights.get(name)!.bytes)
    }
    expect(liveBytes(device) - taken).toBeLessThan(taken)

    const [wanted, got] = [await train(floats, set), await train(codes, set)]
    expect(wanted[19]![0]![0]).toBeLessThan(0.98 * wanted[0]![0]![0]!)
    for (const [step, values] of got.entries()) {
      for (const of of [lossOf, normOf]) {
        expect(Math.abs(of(values) / of(wanted[step]!) - 1), `step ${step}, ${of.name}`).toBeLessThan(1e-5)
      }
    }

    // Where products are cut alike, each gradient is the same.
    using alike = await withValues(set)
    const same = await train(alike, set)
    for (const [step, values] of got.entries()) {
      for (const [i, value] of values.entries()) {
        const expected = same[step]![i]!
        expect(largestDifference(value, expected), `step ${step}, tensor ${i}`).toBeLessThanOrEqual(
          1e-5 * largestOf(expected),
        )
      }
    }
  })
})

describe('adapters beside codes', () => {
  const set = 'gptq-4-g32-asym-zero'
  const sequences = sequencesOf(set)
  const rows = sequences.map((input_ids) => ({ input_ids }))

  test.each(ADAPTER_METHODS)('%s computes and trains as beside the values', async (method) => {
    const results: number[][][] = []
    for (const quantised of [false, true]) {
      using model = await load(set, quantised)
      await model.addAdapter('a', newAdapterConfig(method, newAdapterOptions({ method, rank: 2 })))
      await takeSteps(model, batchOf(rows), 5e-3, 3)
      results.push(await logProbsOf(model, sequences))
    }
    expect(largestDifference(results[1]!.flat(), results[0]!.flat())).toBeLessThan(1e-3)
  })

  test('merging is refused by name', async () => {
    using model = await load(set, true)
    model.addAdapter('a', lora({ rank: 2 }))
    const refused = expect.objectContaining({ code: 'quantised-weights', exitCode: 2 })
    await expect(model.mergeAdapter('a')).rejects.toThrow(refused)
    await expect(model.restartAdapter('a')).rejects.toThrow(refused)
  })

  test('in bfloat16, losses differ no more than roundings of it', async () => {
    const losses: number[] = []
    for (const [quantised, dtype] of [
      [false, 'float32'],
      [false, 'bfloat16'],
      [true, 'bfloat16'],
    ] as const) {
      using model = await load(set, quantised, dtype)
      const { loss, targetTokens } = model.loss(batchOf(rows))
      losses.push((await loss.item()) / targetTokens)
      loss.dispose()
    }
    const [exact, floats, codes] = losses as [number, number, number]
    expect(Math.abs(codes - exact)).toBeLessThan(2 * Math.abs(floats - exact) + 0.002)
  })
})
