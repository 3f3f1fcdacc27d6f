/** Against the reference's float64 log-probabilities (test/golden/tiny-untied). */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { Engine } from '../../lib/engine/index.js'
import { evaluate } from '../../lib/eval/index.js'
import { drain, GREEDY } from '../../lib/generate/index.js'
import { loadModel, type Model } from '../../lib/models/index.js'

const golden = fileURLToPath(new URL('../golden/tiny-untied/', import.meta.url))
const expected = JSON.parse(readFileSync(join(golden, 'expected.json'), 'utf8')) as {
  sequences: number[][]
  logprobs: number[][]
}

describe('a tiny model without a tokenizer', () => {
  let model: Model
  const folder = mkdtempSync(join(tmpdir(), 'mora-tiny-'))
  const data = join(folder, 'sequences.jsonl')
  beforeAll(async () => {
    model = await loadModel(join(golden, 'model'), { device: 'cpu', dtype: 'float32', threads: 1 })
    writeFileSync(data, expected.sequences.map((ids) => `${JSON.stringify({ input_ids: ids })}\n`).join(''))
  })
  afterAll(() => {
    model.dispose()
    rmSync(folder, { recursive: true })
  })

  it.each([1, 8])('has the log-probabilities of the reference, %i rows in a pass', async (batchSize) => {
    const { rows } = await evaluate(model, { task: 'logprobs', data, batchSize })
    expect(rows.map(({ ids }) => ids)).toEqual(expected.sequences)
    for (const [i, { logprobs }] of rows.entries()) {
      expect(logprobs.length).toBe(expected.logprobs[i]!.length)
      for (const [t, value] of logprobs.entries())
        expect(Math.abs(value - expected.logprobs[i]![t]!)).toBeLessThan(5e-5)
    }
  })

  it('has the perplexity that follows from them', async () => {
    const all = expected.logprobs.flat()
    const loss = -all.reduce((total, value) => total + value, 0) / all.length
    const result = await evaluate(model, { task: 'perplexity', data })
    expect(result.targets).toBe(all.length)
    expect(Math.abs(result.loss - loss)).toBeLessThan(2e-5 * loss)
    expect(result.perplexity).toBeCloseTo(Math.exp(result.loss), 9)
  })

  it('names the missing tokenizer where text needs one', async () => {
    const problems = join(folder, 'problems.jsonl')
    writeFileSync(problems, '{"prompt": "1 + 1?", "answer": "2"}\n')
    await expect(evaluate(model, { task: 'exact-match', data: problems })).rejects.toThrow(/has no tokenizer/)
  })

  it('generates the same tokens with a cache as by reading everything anew', async () => {
    const prompt = expected.sequences[0]!
    const request = {
      ids: prompt,
      maxNewTokens: 12,
      sampling: GREEDY,
      random: randomStream(0, 'test'),
      stopIds: new Set<number>(),
    }
    await using engine = new Engine(model, { sequences: 1 })
    const generated: number[] = []
    const reason = await drain(engine.write(request), ({ id }) => generated.push(id))
    expect(reason).toBe('length')
    const slow: number[] = []
    for (let i = 0; i < 12; i++) {
      using fresh = model.createCache(prompt.length + 12)
      const logits = await model.nextLogits([...prompt, ...slow], fresh)
      slow.push(logits.indexOf(Math.max(...logits)))
    }
    expect(generated).toEqual(slow)
  })

  it('a cache with the same beginning reads only the rest and gives the same logits', async () => {
    const [a, b] = [expected.sequences[0]!, expected.sequences[1]!]
    const prompt = [...a.slice(0, 10), ...b.slice(0, 10)]
    using used = model.createCache(64)
    await model.nextLogits(a, used)
    expect(used.rewind(10)).toBe(10)
    const logits = await model.nextLogits(prompt.slice(10), used)
    using fresh = model.createCache(64)
    const same = await model.nextLogits(prompt, fresh)
    for (const [id, logit] of logits.entries()) expect(Math.abs(logit - same[id]!)).toBeLessThan(1e-4)
  })
})
