/** The real model against the reference (golden/smollm2-135m.json of MORA_TEST_ASSETS), in float32. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { evaluate } from '../../lib/eval/index.js'
import { generate } from '../../lib/generate/index.js'
import { loadModel, type Model } from '../../lib/models/index.js'
import { assetPath, lacksAsset, lacksRealModel, REAL_MODEL } from '../assets.js'
import { goldenPath } from '../golden/files.js'
import { needing } from '../needs.js'

interface Golden {
  logprobs: { ids: number[]; logprobs: number[] }[]
  greedy: { prompt: string; ids: number[]; new: number[]; text: string }[]
  perplexity: { tokens: number; window: number; stride: number; targets: number; perplexity: number }
}

const text = 'data/shakespeare/valid.txt'

needing(lacksRealModel).describe('SmolLM2 from GGUF', () => {
  let model: Model
  let golden: Golden
  const folder = mkdtempSync(join(tmpdir(), 'mora-real-'))
  beforeAll(async () => {
    golden = JSON.parse(readFileSync(goldenPath('smollm2-135m.json'), 'utf8'))
    model = await loadModel(assetPath(REAL_MODEL), { device: 'cpu', dtype: 'float32' })
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

  needing(lacksAsset(text, 'data sets')).it('has the perplexity of the reference', async () => {
    const { tokens, window, stride, targets, perplexity } = golden.perplexity
    const data = assetPath(text)
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
