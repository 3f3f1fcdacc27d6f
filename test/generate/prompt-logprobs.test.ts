/** Log-probabilities of prompts: the same alone and beside others, in as few passes as possible. */
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { packBatch } from '../../lib/batches/packing.js'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { generate, TextEngine, type TokenText } from '../../lib/generate/index.js'
import { loadModel, type Model } from '../../lib/models/index.js'
import { ForwardPasses } from '../../lib/models/network/forward-passes.js'
import { serve } from '../../lib/serve/index.js'
import { largestDifference } from '../golden/files.js'

let model: Model
beforeAll(async () => {
  model = await loadModel(DEMO_MODEL, { device: 'cpu', dtype: 'float32', threads: 1 })
})
afterAll(() => model.dispose())
afterEach(() => void vi.restoreAllMocks())

const prompts = [1, 2, 8, 20, 64, 70, 130, 7].map((length, row) =>
  Array.from({ length }, (_, i) => 3 + ((7 * i + row) % 340)),
)
const call = { maxNewTokens: 1, temperature: 0, logprobs: true, topLogprobs: 2, promptLogprobs: true }
/** Passes of other sizes sum in another order: some units in the last place of float32. */
function expectAlike(values: ArrayLike<number>, others: ArrayLike<number>): void {
  const largest = Math.max(...Array.from(others, Math.abs))
  expect(largestDifference(values, others)).toBeLessThan(1e-6 * Math.max(10, largest))
}
const passes = () => vi.spyOn(ForwardPasses.prototype, 'forwardAsync')

test('prompts at one time share a pass, and each has the numbers that it has alone', async () => {
  await using engine = new TextEngine(model)
  const write = async (prompt: number[]) => {
    const { ids, logprobs, promptLogprobs } = await engine.generate({ ...call, prompt })
    const told = [...promptLogprobs!, ...logprobs!].slice(1) as TokenText[]
    expect(told.map(({ id }) => id)).toEqual([...prompt, ...ids].slice(1))
    for (const { top } of told) expect(top).toHaveLength(2)
    return { row: [...prompt, ...ids], values: told.map(({ logprob }) => logprob) }
  }
  const shared = passes()
  const together = await Promise.all(prompts.map(write))
  expect(shared.mock.calls.length).toBeLessThan(prompts.length)
  for (const [i, { row, values }] of together.entries()) {
    const batch = packBatch([{ ids: row, mask: row.map((_, token) => Number(token > 0)), row: 0 }])
    expectAlike(values, await model.tokenLogProbs(batch))
    const alone = await write(prompts[i]!)
    expect(alone.row).toEqual(row)
    expectAlike(alone.values, values)
  }
  // An engine's first token is the same one: what a bias changes is not read off the ranking of the prompt.
  const { ids } = await engine.generate({ ...call, prompt: prompts[5]!, logitBias: { 0: 0 } })
  expect([...prompts[5]!, ...ids]).toEqual(together[5]!.row)
})

test('who leaves takes no other along', async () => {
  await using engine = new TextEngine(model)
  const [first, second] = prompts.slice(5) as [number[], number[]]
  const controller = new AbortController()
  const left = expect(engine.generate({ ...call, prompt: first, signal: controller.signal })).rejects.toThrow('enough')
  const stays = engine.generate({ ...call, prompt: second })
  controller.abort(new Error('enough'))
  await left
  expect((await stays).promptLogprobs).toEqual((await generate(model, { ...call, prompt: second })).promptLogprobs)
})

test('the texts of one request share the numbers of its prompt', async () => {
  await using server = serve(model, { name: 'demo' })
  const counted = passes()
  const body = { prompt: prompts.slice(4, 6), echo: true, logprobs: 1, n: 6, max_tokens: 0, seed: 1 }
  const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
  const { choices } = JSON.parse(await (await server.fetch(new Request('http://any/v1/completions', init))).text())
  // Each of the two prompts has one pass at most, whoever comes first.
  expect(counted.mock.calls.length).toBeLessThanOrEqual(2)
  const values = choices.map(({ logprobs }: { logprobs: { token_logprobs: number[] } }) => logprobs.token_logprobs)
  expect(values.map(({ length }: number[]) => length)).toEqual([...Array(6).fill(64), ...Array(6).fill(70)])
  expect(new Set(values.map(String)).size).toBe(2)
})
