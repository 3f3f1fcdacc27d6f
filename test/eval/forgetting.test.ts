/** Losses before and after, against float64 log-probabilities of the reference (test/golden/tiny-untied). */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { mora } from '../../lib/adapters/methods/mora.js'
import type { Batch } from '../../lib/batches/batch.js'
import { DataLoader } from '../../lib/batches/loader.js'
import { type EvaluateOptions, evaluate } from '../../lib/eval/index.js'
import { loadModel, type Model } from '../../lib/models/index.js'
import { AdamW } from '../../lib/optim/adamw.js'

const golden = fileURLToPath(new URL('../golden/tiny-untied/', import.meta.url))
const { sequences, logprobs } = JSON.parse(readFileSync(join(golden, 'expected.json'), 'utf8')) as {
  sequences: number[][]
  logprobs: number[][]
}
const all = logprobs.flat()
const reference = -all.reduce((total, value) => total + value, 0) / all.length

describe('forgetting', () => {
  const load = () => loadModel(join(golden, 'model'), { device: 'cpu', dtype: 'float32', threads: 1 })
  const folder = mkdtempSync(join(tmpdir(), 'mora-forgetting-'))
  const data = join(folder, 'sequences.jsonl')
  let base: Model
  let model: Model
  beforeAll(async () => {
    writeFileSync(data, sequences.map((ids) => `${JSON.stringify({ input_ids: ids })}\n`).join(''))
    base = await load()
    model = await load()
  })
  afterAll(() => {
    model.dispose()
    base.dispose()
    rmSync(folder, { recursive: true })
  })

  /** As the command line calls it, where `data` may be absent. */
  const fromText = (options: object) =>
    evaluate(model, { task: 'forgetting', ...options } as EvaluateOptions<'forgetting'>)

  it('needs an adapter or a model before', async () => {
    await expect(evaluate(model, { task: 'forgetting', data })).rejects.toThrow(
      /load an adapter, or give the model before/,
    )
    await expect(evaluate(model, { task: 'perplexity', data, base })).rejects.toThrow(
      /base belongs to the task forgetting/,
    )
  })

  it('is the loss with the adapter less that without, row by row too', async () => {
    model.addAdapter('other', mora({ rank: 2 }))
    const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
    let batch: Batch | undefined
    for await (batch of new DataLoader([{ ids: [3, 5, 7, 11, 13, 17] }], { batchSize: 1 })) break
    for (let step = 0; step < 3; step++) {
      const { loss } = model.loss(batch!)
      await loss.backward()
      loss.dispose()
      optimizer.step({ learningRate: 0.05 }).dispose()
    }
    optimizer.dispose()
    const output = join(folder, 'rows.jsonl')
    const result = await evaluate(model, { task: 'forgetting', data, batchSize: 2, output })
    const { loss } = await evaluate(model, { task: 'perplexity', data, batchSize: 2 })
    expect(Math.abs(result.before - reference)).toBeLessThan(2e-5 * reference)
    expect(result.after).toBe(loss)
    expect(result.forgetting).toBeCloseTo(result.after - result.before, 12)
    expect(Math.abs(result.forgetting)).toBeGreaterThan(0.01)
    expect(result).toMatchObject({ targets: all.length, tokens: sequences.flat().length })
    expect(model.adapterSet.activeNames()).toEqual(['other'])
    expect(await fromText({ text: data, batchSize: 2 })).toEqual({ ...result, change: result.forgetting })
    const rows = readFileSync(output, 'utf8').trimEnd().split('\n')
    const first = -logprobs[0]!.reduce((total, value) => total + value, 0) / logprobs[0]!.length
    expect(rows).toHaveLength(sequences.length)
    expect(JSON.parse(rows[0]!).before).toBeCloseTo(first, 4)
  })

  it('of a merged model is taken against its base', async () => {
    const beside = await evaluate(model, { task: 'forgetting', data })
    await model.mergeAdapter('other')
    const merged = await evaluate(model, { task: 'forgetting', data, base })
    expect(merged.before).toBe(beside.before)
    expect(merged.after).toBeCloseTo(beside.after, 5)
    await expect(evaluate(model, { task: 'forgetting', data })).rejects.toThrow(/load an adapter/)
  })

  it('takes a file as text in place of data, and no other task does', async () => {
    const way = /Expected a text with columns .* for text but received .*sequences.jsonl"; the option data names a file/
    await expect(fromText({ task: 'perplexity', text: data })).rejects.toThrow(way)
    await expect(fromText({ data, text: data })).rejects.toThrow(way)
    await expect(fromText({ text: '{a}' })).rejects.toThrow('Missing data; it is required.')
  })

  it('refuses a base with other tokens', async () => {
    const other = Object.create(base, { config: { value: { ...base.config, vocabularySize: 7 } } })
    await expect(evaluate(model, { task: 'forgetting', data, base: other })).rejects.toThrow(/vocabulary of 7 tokens/)
  })
})
