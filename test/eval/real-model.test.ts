/** The real model against the reference (golden/smollm2-135m.json of MORA_TEST_ASSETS), in float32. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { evaluate } from '../../lib/eval/index.js'
import { generate } from '../../lib/generate/index.js'
import { loadModel, type Model } from '../../lib/models/index.js'

interface Golden {
  logprobs: { ids: number[]; logprobs: number[] }[]
  greedy: { prompt: string; ids: number[]; new: number[]; text: string }[]
  perplexity: { tokens: number; window: number; stride: number; targets: number; perplexity: number }
}

const assets = process.env.MORA_TEST_ASSETS

describe.skipIf(!assets)('SmolLM2 from GGUF (needs MORA_TEST_ASSETS)', () => {
  let model: Model
  let golden: Golden
  const folder = mkdtempSync(join(tmpdir(), 'mora-real-'))
  beforeAll(async () => {
    golden = JSON.parse(readFileSync(join(assets!, 'golden/smollm2-135m.json'), 'utf8'))
    const path = join(assets!, 'models/SmolLM2-135M-Instruct.Q4_1.gguf')
    model = await loadModel(path, { device: 'cpu', dtype: 'float32' })
  })
  afterAll(() => {
    model?.dispose()
    rmSync(folder, { recursive: true })
  })

  it('has the log-probabilities of the reference', async () => {
    const data = join(folder, 'rows.jsonl')
    writeFileSync(data, golden.logprobs.map(({ ids }) => `${JSON.stringify({ input_ids: ids })}\n`).join(''))
    const { rows } = await evaluate(model, { task: 'logprobs', data })
    for (const [i, { logprobs }] of rows.entries()) {
      const worst = Math.max(...logprobs.map((value, t) => Math.abs(value - golden.logprobs[i]!.logprobs[t]!)))
      expect(worst).toBeLessThan(2e-3)
    }
  })

  it('has the perplexity of the reference', async () => {
    const { tokens, window, stride, targets, perplexity } = golden.perplexity
    const data = join(assets!, 'data/shakespeare/valid.txt')
    const result = await evaluate(model, { task: 'perplexity', data, window, stride, limit: tokens / window })
    expect(result).toMatchObject({ tokens, targets })
    expect(Math.abs(result.perplexity / perplexity - 1)).toBeLessThan(1e-3)
  })

  it('answers as the reference, greedily', async () => {
    for (const { prompt, ids, new: expected, text } of golden.greedy) {
      const result = await generate(model, { prompt, maxNewTokens: 40 })
      expect(result).toMatchObject({ text, ids: expected, promptTokens: ids.length, finishReason: 'stop' })
    }
  })
})
