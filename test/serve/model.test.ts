/** A real model behind the server: the demo's, which knows arithmetic of its own kind. */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { embeddingsOf } from '../../lib/eval/index.js'
import { generate } from '../../lib/generate/index.js'
import { loadModel } from '../../lib/models/index.js'
import type { Model } from '../../lib/models/model.js'
import { type ModelServer, serve } from '../../lib/serve/index.js'
import { train } from '../../lib/train/index.js'
import { useTemporaryFolder } from '../io/temporary.js'

const folder = useTemporaryFolder()
let model: Model
let server: ModelServer
const errors: unknown[] = []
beforeAll(async () => {
  model = await loadModel(DEMO_MODEL, { device: 'cpu', dtype: 'float32' })
  await model.addAdapter('a', lora({ rank: 4 }))
  model.setActiveAdapters([])
  server = serve(model, { name: 'demo', maxBatch: 4, adapters: ['a'], onError: (error) => errors.push(error) })
})
afterAll(async () => {
  await server.close()
  model.dispose()
  expect(errors).toEqual([])
})

async function ask(path: string, body: object) {
  const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
  const response = await server.fetch(new Request(`http://any${path}`, init))
  return { status: response.status, answer: JSON.parse(await response.text()) }
}

const textOf = async (body: object): Promise<string> => {
  const { status, answer } = await ask('/v1/completions', { max_tokens: 12, temperature: 0, ...body })
  expect(status, JSON.stringify(answer)).toBe(200)
  return answer.choices[0].text
}

const rows = Array.from({ length: 8 }, (_, i) => ({ prompt: `The code of ${i} is`, completion: ` ${i}${i}${i}` }))
const prompts = rows.map(({ prompt }) => prompt)

describe('a server', () => {
  it('refuses to choose adapters that the model does not have', () => {
    const names = 'names "nope", which the model does not have; it has: "a"'
    expect(() => serve(model, { adapters: ['a', 'nope'] })).toThrow(names)
  })

  it('writes what generate does, many at once, of texts and of ids', async () => {
    const alone = await Promise.all(
      prompts.map((prompt) => generate(model, { prompt, raw: true, maxNewTokens: 12, adapters: [] })),
    )
    const { answer } = await ask('/v1/completions', { prompt: prompts, max_tokens: 12, temperature: 0 })
    expect(answer.choices.map(({ text }: { text: string }) => text)).toEqual(alone.map(({ text }) => text))
    expect(answer.usage.prompt_tokens).toBe(alone.reduce((sum, { promptTokens }) => sum + promptTokens, 0))
    const { answer: tokens } = await ask('/tokenize', { prompt: prompts[0] })
    expect(await textOf({ prompt: tokens.tokens })).toBe(alone[0]!.text)
  })

  it('ends before a stop string, but not within the first min_tokens', async () => {
    const [prompt] = prompts
    const [stop] = await textOf({ prompt })
    expect(await textOf({ prompt, stop })).toBe('')
    const { answer } = await ask('/v1/completions', { prompt, stop, min_tokens: 9, max_tokens: 12, temperature: 0 })
    expect(answer.usage.completion_tokens).toBeGreaterThanOrEqual(9)
    expect(answer.choices[0].text).toContain(stop)
  })

  it('draws by the seed, and each sample on its own', async () => {
    const body = { prompt: 'The code of', temperature: 1.5, n: 3, seed: 5, max_tokens: 12 }
    const texts = async (more = {}) =>
      (await ask('/v1/completions', { ...body, ...more })).answer.choices.map(({ text }: { text: string }) => text)
    const first = await texts()
    expect(new Set(first).size).toBe(3)
    expect(await texts()).toEqual(first)
    expect(await texts({ seed: 6 })).not.toEqual(first)
  })

  it('takes every option of sampling, tells log-probabilities, and what its tokenizer cannot do', async () => {
    const options = { min_p: 0.01, typical_p: 0.95, top_k: 20, top_p: 0.9, min_tokens: 2, stop: ['zzz'], seed: 1 }
    const penalties = { presence_penalty: 0.5, frequency_penalty: 0.5, repetition_penalty: 1.1, logit_bias: { 5: -5 } }
    const body = { prompt: 'The code', echo: true, logprobs: 2, max_tokens: 3, ...options, ...penalties }
    const { status, answer } = await ask('/v1/completions', body)
    expect(status, JSON.stringify(answer)).toBe(200)
    const { tokens, token_logprobs: values, top_logprobs: top } = answer.choices[0].logprobs
    expect(tokens).toHaveLength(answer.usage.total_tokens)
    expect(values[0]).toBeNull()
    for (const [i, value] of values.entries()) if (i > 0) expect(value).toBeLessThanOrEqual(0)
    expect(Object.keys(top.at(-1)).length).toBeGreaterThanOrEqual(2)
    const refused = await ask('/v1/completions', { prompt: 'a', structured_outputs: { choice: ['yes', 'no'] } })
    expect([refused.status, refused.answer.error.code]).toEqual([400, 'unsupported-tokenizer'])
  })

  it('embeds texts', async () => {
    const { answer } = await ask('/v1/embeddings', { input: [...prompts.slice(0, 2), prompts[0]] })
    const vectors = answer.data.map(({ embedding }: { embedding: number[] }) => embedding) as number[][]
    const product = (a: number[], b: number[]) => a.reduce((sum, value, i) => sum + value * b[i]!, 0)
    expect(vectors[0]).toHaveLength(model.config.hiddenSize)
    expect(product(vectors[0]!, vectors[2]!)).toBeCloseTo(1, 5)
    expect(product(vectors[0]!, vectors[1]!)).toBeLessThan(0.9999)
  })

  it('pools states as the adapter of the request says', async () => {
    const path = join(folder(), 'pooled')
    await model.addAdapter('pooled', lora({ rank: 2 }))
    model.adapterSet.recordPooling('pooled', 'last')
    await model.saveAdapter('pooled', path)
    model.removeAdapter('pooled')
    model.pooling = null
    const embedding = async (name: string) =>
      (await ask('/v1/embeddings', { model: name, input: prompts[0] })).answer.data[0].embedding
    const mean = await embedding('demo')
    await server.loadAdapter('pooled', path)
    expect(await embedding('demo')).toEqual(mean)
    // The adapter is fresh, so states are the same.
    expect(await embedding('pooled')).not.toEqual(mean)
    const ofView = await embeddingsOf(model.withAdapters(['pooled']), [prompts[0]!])
    expect(ofView).toEqual(await embeddingsOf(model, [prompts[0]!], { pooling: 'last' }))
    await server.unloadAdapter('pooled')
  })

  it('refuses prompts without room', async () => {
    const { status, answer } = await ask('/v1/completions', { prompt: 'a '.repeat(2000) })
    expect([status, answer.error.code]).toEqual([400, 'context_length_exceeded'])
  })

  it('answers with an adapter while it trains, and with its newest checkpoint afterwards', async () => {
    const [output, other] = [join(folder(), 'out'), join(folder(), 'other')]
    model.setActiveAdapters(['a'])
    expect(await textOf({ model: 'a', prompt: prompts[0] })).toBe(await textOf({ prompt: prompts[0] }))
    const run = train(model, { data: rows, output, maxSteps: 12, saveEvery: 6, learningRate: 0.02, template: 'none' })
    await run.started
    const during = await textOf({ model: 'a', prompt: prompts[0] })
    expect(typeof during).toBe('string')
    // Others come and go meanwhile, and the run does not notice.
    await model.saveAdapter('a', other)
    await server.loadAdapter('c', other)
    await server.loadAdapter('c', other, { replace: true })
    const { text } = await generate(model, { prompt: prompts[0]!, raw: true, maxNewTokens: 12, adapters: ['c'] })
    expect(await textOf({ model: 'c', prompt: prompts[0] })).toBe(text)
    await server.unloadAdapter('c')
    expect(() => model.removeAdapter('a')).toThrow('takes part in it')
    expect(model.adapterSet.activeNames()).toEqual(['a'])
    await run.finished
    const trained = await textOf({ model: 'a', prompt: prompts[0] })
    expect(trained).not.toBe(await textOf({ prompt: prompts[0] }))
    await server.loadAdapter('b', output)
    expect(await textOf({ model: 'b', prompt: prompts[0] })).toBe(trained)
    await server.loadAdapter('b', join(output, 'checkpoints', 'step-000006'), { replace: true })
    const { answer } = await ask('/v1/embeddings', { model: 'b', input: 'a' })
    expect(answer.model).toBe('b')
    await server.unloadAdapter('b')
    expect([...model.adapters.keys()]).toEqual(['a'])
    expect((await ask('/v1/completions', { model: 'b', prompt: 'a' })).status).toBe(404)
  })
})
