/** The difference of two models, against sums over their whole log-probabilities. */
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { packBatch } from '../../lib/batches/packing.js'
import { randomStream } from '../../lib/common/random.js'
import { evaluate } from '../../lib/eval/index.js'
import { loadModel, type Model } from '../../lib/models/index.js'
import { goldenJson, goldenPath } from '../golden/files.js'
import { quickFolder } from '../io/temporary.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const { sequences } = goldenJson<{ sequences: number[][] }>('tiny-untied/expected.json')
const folder = quickFolder()
const data = join(folder, 'rows.jsonl')
const device = process.env.MORA_TEST_DEVICE ?? 'cpu'
let model: Model
let base: Model

beforeAll(async () => {
  writeFileSync(data, sequences.map((ids) => `${JSON.stringify({ input_ids: ids })}\n`).join(''))
  const load = () => loadModel(goldenPath('tiny-untied/model'), { device, dtype: 'float32', threads: 2 })
  base = await load()
  model = await load()
  model.addAdapter('x', lora({ rank: 2 }))
  const random = randomStream(1, 'adapter')
  for (const { parameter } of model.trainableParameters())
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => 0.05 * random.normal()))
})
afterAll(() => {
  model.dispose()
  base.dispose()
  rmSync(folder, { recursive: true })
  expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0)
})

/** Natural log-probabilities [V] of the token after each but the last, in float64. */
async function distributionsOf(of: Model, ids: number[]): Promise<number[][]> {
  const batch = packBatch([{ ids, mask: ids.map(() => 1), row: 0 }])
  using output = await of.forwardAsync(batch, { gradients: false })
  using logits = output.logits()
  const values = await logits.data()
  const size = of.config.vocabularySize
  return ids.slice(1).map((_, row) => {
    const own = [...values.subarray(row * size, (row + 1) * size)].map(Number)
    const sum = own.reduce((total, logit) => total + Math.exp(logit), 0)
    return own.map((logit) => logit - Math.log(sum))
  })
}

async function expected() {
  const [losses, changes, divergences, same]: [number[][], number[], number[], number[]] = [[[], []], [], [], []]
  for (const ids of sequences) {
    const [before, after] = [await distributionsOf(base, ids), await distributionsOf(model, ids)]
    for (const [i, p] of before.entries()) {
      const [q, target] = [after[i]!, ids[i + 1]!]
      losses[0]!.push(-p[target]!)
      losses[1]!.push(-q[target]!)
      changes.push(Math.abs(q[target]! - p[target]!))
      divergences.push(p.reduce((sum, logP, token) => sum + Math.exp(logP) * (logP - q[token]!), 0))
      same.push(p.indexOf(Math.max(...p)) === q.indexOf(Math.max(...q)) ? 1 : 0)
    }
  }
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  return {
    before: mean(losses[0]!),
    after: mean(losses[1]!),
    meanAbsoluteChange: mean(changes),
    maxAbsoluteChange: Math.max(...changes),
    klDivergence: mean(divergences),
    sameTopTokens: mean(same),
    targets: changes.length,
  }
}

describe('the task change', () => {
  test('compares log-probabilities over the vocabulary, with a base or without adapters', async () => {
    const { targets, ...wanted } = await expected()
    expect(wanted.klDivergence).toBeGreaterThan(1e-3)
    expect(wanted.sameTopTokens).toBeGreaterThan(0)
    expect(wanted.sameTopTokens).toBeLessThan(1)
    const beside = await evaluate(model, { task: 'change', data, batchSize: 2 })
    const { tokens, targets: count, ...got } = await evaluate(model, { task: 'change', data, base })
    expect(model.adapterSet.activeNames()).toEqual(['x'])
    expect(count).toBe(targets)
    expect(tokens).toBe(sequences.flat().length)
    for (const [name, value] of Object.entries(wanted)) {
      expect(got[name as keyof typeof got], name).toBeCloseTo(value, 6)
      expect(beside[name as keyof typeof got], name).toBeCloseTo(value, 6)
    }
    const { loss } = await evaluate(model, { task: 'perplexity', data })
    expect(got.after).toBeCloseTo(loss, 6)
  })

  test('of a model against itself is zero', async () => {
    expect(await evaluate(base, { task: 'change', data, base })).toMatchObject({
      meanAbsoluteChange: 0,
      maxAbsoluteChange: 0,
      klDivergence: 0,
      sameTopTokens: 1,
    })
  })

  test('needs an adapter or a model before', async () => {
    await expect(evaluate(base, { task: 'change', data })).rejects.toThrow(/task change compares two models/)
    const { config, tokenizer, adapterSet } = base
    const mute = { config, tokenizer, adapterSet } as unknown as Model
    await expect(evaluate(model, { task: 'change', data, base: mute })).rejects.toThrow(
      /Expected a model \(loadModel gives one\) for base/,
    )
  })
})
