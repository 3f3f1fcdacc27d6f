import { describe, expect, it } from 'vitest'
import { mora } from '../../lib/adapters/methods/mora.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { TinyModel } from './tiny-model.js'
import { LAYERS, type Outcome, rows, steps, tightMemory, trainTiny, writeRows } from './tiny-run.js'

const folder = useTemporaryFolder()
const weights = ({ model }: Outcome) => model.values().flatMap((values) => [...values])

function expectClose(actual: number[], expected: number[], tolerance: number): void {
  expect(actual.length).toBe(expected.length)
  const largest = actual.reduce((max, value, i) => Math.max(max, Math.abs(value - expected[i]!)), 0)
  expect(largest).toBeLessThan(tolerance)
}

describe('the steps of a run', () => {
  it('are the same with the smallest memory limit', async () => {
    const data = writeRows(folder(), 'train.jsonl', rows(80))
    const options = { data, batchSize: 80, maxSteps: 2 }
    const free = await trainTiny(options)
    const model = new TinyModel()
    const tight = await trainTiny({ ...options, memory: tightMemory(model) }, { model })
    expect(free.model.seen.length).toBe(2)
    expect(tight.model.seen.length).toBeGreaterThan(2)
    expectClose(weights(tight), weights(free), 1e-5)
  })

  it('T1 trains the same with one pass of 8 rows or 8 passes of one row', async () => {
    const data = writeRows(folder(), 'train.jsonl', rows(24))
    const options = { data, batchSize: 8, maxSteps: 6, dropout: 0.3 }
    const whole = await trainTiny({ ...options, microBatchSize: 8 })
    const single = await trainTiny({ ...options, microBatchSize: 1 })
    expect(whole.model.seen.length).toBe(6)
    expect(single.model.seen.length).toBe(48)
    expectClose(weights(single), weights(whole), 1e-5)
    expectClose(
      steps(single).map(({ loss }) => loss),
      steps(whole).map(({ loss }) => loss),
      1e-5,
    )
    expect(steps(single).map(({ targetTokens }) => targetTokens)).toEqual(
      steps(whole).map(({ targetTokens }) => targetTokens),
    )
  })

  it('T1 reports loss and gradient as means over the target tokens of the whole step', async () => {
    const data = writeRows(folder(), 'train.jsonl', rows(4))
    const options = { data, batchSize: 4, maxSteps: 1, microBatchSize: 1, shuffle: false, seed: 7 }
    const { model, events } = await trainTiny(options)
    const [step] = steps({ events })

    const fresh = new TinyModel()
    fresh.addAdapter('default', mora({ targetModules: LAYERS }), { seed: 7 })
    let lossSum = 0
    let targets = 0
    for (const { batch } of model.seen) {
      const { loss } = await fresh.lossAsync(batch)
      await loss.backward()
      lossSum += await loss.item()
      targets += batch.targetTokens
    }
    const gradients = await Promise.all(fresh.parameters.map(({ grad }) => grad!.data()))
    const squares = gradients.flatMap((values) => [...values]).reduce((sum, g) => sum + g * g, 0)
    expect(new Set(model.seen.map(({ batch }) => batch.targetTokens)).size).toBeGreaterThan(1)
    expect(step!.targetTokens).toBe(targets)
    expect(step!.loss).toBeCloseTo(lossSum / targets, 6)
    expect(step!.gradNorm).toBeCloseTo(Math.sqrt(squares) / targets, 6)
  })

  it('T3 divides a last partial step by its own target tokens, and drops no row', async () => {
    const data = writeRows(folder(), 'train.jsonl', rows(10))
    const last = writeRows(folder(), 'last.jsonl', rows(2, { first: 8 }))
    const all = await trainTiny({ data, batchSize: 4, epochs: 1, shuffle: false, learningRate: 1e-8 })
    expect(all.result.steps).toBe(3)
    const alone = await trainTiny({ data: last, batchSize: 4, epochs: 1, shuffle: false, learningRate: 1e-8 })
    const [partial, whole] = [steps(all)[2]!, steps(alone)[0]!]
    expect(partial.targetTokens).toBe(whole.targetTokens)
    expect(Math.abs(partial.loss / whole.loss - 1)).toBeLessThan(1e-6)
    expect(Math.abs(partial.gradNorm / whole.gradNorm - 1)).toBeLessThan(1e-6)
    expect(steps(all).reduce((sum, { tokens }) => sum + tokens, 0)).toBe(
      rows(10).reduce((sum, { input_ids }) => sum + input_ids.length, 0),
    )
  })

  it('T4 uses the learning rate of the optimizer step, whatever the micro-batches', async () => {
    const data = writeRows(folder(), 'train.jsonl', rows(12))
    const options = { data, batchSize: 4, maxSteps: 5, warmupSteps: 2, scheduler: 'linear' as const, learningRate: 0.1 }
    for (const microBatchSize of [1, 4]) {
      const run = await trainTiny({ ...options, microBatchSize })
      const expected = [0, 0.05, 0.1, (0.1 * 2) / 3, (0.1 * 1) / 3]
      expectClose(
        steps(run).map(({ learningRate }) => learningRate),
        expected,
        1e-15,
      )
    }
  })

  it('keys dropout by the step, and turns it off while evaluating', async () => {
    const data = writeRows(folder(), 'train.jsonl', rows(6))
    const { model } = await trainTiny({ data, evalData: data, evalEvery: 2, batchSize: 6, maxSteps: 3, dropout: 0.5 })
    expect(model.seen.map(({ step }) => step)).toEqual([1, 2, null, 3, null])
  })

  it('learns the rows', async () => {
    const data = writeRows(folder(), 'train.jsonl', rows(6))
    const { result, events } = await trainTiny({ data, batchSize: 6, maxSteps: 60 })
    expect(result.loss!).toBeLessThan(0.7 * steps({ events })[0]!.loss)
    expect(result).toMatchObject({ steps: 60, evalLoss: null, output: null, stopped: false, trainableParameters: 800 })
  })

  it('stops before an update that is not finite, and names the step and the layer', async () => {
    const data = writeRows(folder(), 'train.jsonl', rows(12))
    const output = `${folder()}/out`
    const disturb = (gradient: Float32Array, step: number) => {
      if (step === 4) gradient[3] = Number.NaN
    }
    const failed = trainTiny({ data, output, batchSize: 4, maxSteps: 8, saveEvery: 3 }, { disturb })
    await expect(failed).rejects.toMatchObject({
      code: 'non-finite',
      exitCode: 1,
      message: expect.stringMatching(/step 4.*model\.layers\.0\.mlp\.up_proj.*checkpoints\/step-000003/),
    })
  })
})
