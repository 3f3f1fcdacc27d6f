/** Parameters by other servers' names: done, taken if they change nothing, or refused by name. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { Model } from '../../lib/models/index.js'
import { type ModelServer, serve } from '../../lib/serve/index.js'
import {
  refuseUnsupported,
  unsupportedOfChats,
  unsupportedOfCompletions,
  unsupportedOfEmbeddings,
  unsupportedOfTokenize,
} from '../../lib/serve/unsupported.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { CALLING, MAX_POSITIONS, script, tinyModel, WITH_TOOLS, watchTexts } from './tiny-server.js'

const folder = useTemporaryFolder()
let model: Model
let server: ModelServer
const asked = watchTexts()
beforeAll(async () => {
  model = await tinyModel()
  server = serve(model)
})
afterAll(async () => {
  await server.close()
  model.dispose()
})

async function ask(path: string, body: object, of = server) {
  const headers = { 'content-type': 'application/json' }
  const request = new Request(`http://any${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
  const response = await of.fetch(request)
  return { status: response.status, ...((await response.json()) as { error?: { message: string; param: string } }) }
}

const CHAT = '/v1/chat/completions'
const messages = [{ role: 'user', content: 'Hi' }]
const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object', properties: {} } } }]
const ROUTES: [string, object, Parameters<typeof refuseUnsupported>[1]][] = [
  [CHAT, { messages, max_tokens: 2 }, unsupportedOfChats],
  ['/v1/completions', { prompt: 'a', max_tokens: 2 }, unsupportedOfCompletions],
  ['/v1/embeddings', { input: 'a' }, unsupportedOfEmbeddings],
  ['/tokenize', { messages }, unsupportedOfTokenize],
]

describe('a parameter that the server does not have', () => {
  it.each(ROUTES)('is refused by %s, and taken if it changes nothing', async (path, body, table) => {
    for (const [name, { neutral = [], instead }] of Object.entries(table)) {
      const { status, error } = await ask(path, { ...body, [name]: { of: 'others' } })
      expect([status, error?.param], name).toEqual([400, name])
      expect(error!.message).toBe(
        `The parameter ${name} is not supported${instead ? `: ${instead}` : '; leave it out'}.`,
      )
      for (const value of [null, ...neutral]) expect(() => refuseUnsupported({ [name]: value }, table)).not.toThrow()
    }
    const harmless = {
      user: 'u',
      cache_prompt: true,
      priority: 1,
      repeat_penalty: 1,
      lora: [],
      echo: false,
    }
    expect((await ask(path, { ...body, ...harmless })).status).toBe(200)
  })

  it('is refused beside n, and in the options of streams', async () => {
    expect((await ask(CHAT, { messages, n: 2, best_of: 2, max_tokens: 2 })).status).toBe(200)
    expect((await ask(CHAT, { messages, n: 2, best_of: 4 })).error?.param).toBe('best_of')
    const { error } = await ask(CHAT, { messages, stream: true, stream_options: { continuous_usage_stats: true } })
    expect(error?.param).toBe('stream_options.continuous_usage_stats')
  })
})

describe('a parameter that the engine has', () => {
  const callOf = async (body: object, path = CHAT) => {
    expect(await ask(path, { messages, max_tokens: 2, ...body })).toMatchObject({ status: 200 })
    return asked.mock.lastCall![0]
  }

  it('reaches it under any of its names', async () => {
    script(() => [{ text: 'a' }])
    const schema = { type: 'object', properties: { k: { type: 'integer' } }, required: ['k'] }
    expect(await callOf({ response_format: { type: 'json_object', schema } })).toMatchObject({ schema })
    expect(await callOf({ response_format: { type: 'json_object' } })).toMatchObject({ schema: { type: 'object' } })
    expect(await callOf({ json_schema: schema })).toMatchObject({ schema })
    expect(await callOf({ grammar: 'root ::= "a"' })).toMatchObject({ grammar: 'root ::= "a"' })
    expect(await callOf({ grammar: '' })).not.toHaveProperty('grammar')
    expect(await callOf({ bad_words: ['x'], no_repeat_ngram_size: 3 })).toMatchObject({
      badWords: ['x'],
      noRepeatNgram: 3,
    })
    expect(await callOf({ bad_words: [] })).toMatchObject({ badWords: undefined })
    const ends = { stop_token_ids: [3], ignore_eos: true, include_stop_str_in_output: true, allowed_token_ids: [3, 4] }
    const options = { stopTokens: [3], ignoreEos: true, includeStop: true, allowedTokens: [3, 4] }
    expect(await callOf(ends)).toMatchObject(options)
    const none = { stopTokens: undefined, allowedTokens: undefined }
    expect(await callOf({ stop_token_ids: [], allowed_token_ids: [] })).toMatchObject(none)
  })

  it('has the range of the option, and its default', async () => {
    const { error } = await ask(CHAT, { messages, min_p: 1.5 })
    expect(error).toMatchObject({
      param: 'min_p',
      message: 'Expected a number of at least 0 up to 1 for min_p but received 1.5.',
    })
    const defaults = { topK: 0, topP: 1, topNSigma: 0, minP: 0, typicalP: 1, repetitionPenalty: 1, minNewTokens: 0 }
    expect(await callOf({ min_p: null })).toMatchObject({ temperature: 1, ...defaults })
    expect(await callOf({ top_k: -1, min_tokens: -1, top_n_sigma: -1 })).toMatchObject(defaults)
    expect(await callOf({ top_n_sigma: 1.5 })).toMatchObject({ topNSigma: 1.5 })
    expect((await ask(CHAT, { messages, top_k: -2 })).error?.param).toBe('top_k')
    expect(await callOf({ presence_penalty: -1 })).toMatchObject({ presencePenalty: -1 })
  })

  it('excludes another constraint', async () => {
    const format = { response_format: { type: 'json_object' } }
    const forced = { tools, tool_choice: 'required' }
    for (const body of [
      { grammar: 'root ::= "a"', json_schema: {} },
      { grammar: 'root ::= "a"', ...format },
      { json_schema: {}, ...forced },
      { structured_outputs: { regex: 'a' }, ...format },
    ])
      expect(await ask(CHAT, { messages, ...body })).toMatchObject({ status: 400 })
  })

  it('may have the value for none', async () => {
    script(() => [{ text: 'a' }])
    const { seed, maxNewTokens } = await callOf({ seed: -1, max_tokens: -1 })
    expect(seed).toBeGreaterThanOrEqual(0)
    expect(maxNewTokens).toBe(MAX_POSITIONS)
    expect((await callOf({ prompt: 'a', max_tokens: -1 }, '/v1/completions')).maxNewTokens).toBe(MAX_POSITIONS)
    expect((await ask(CHAT, { messages, max_tokens: 0 })).error?.param).toBe('max_tokens')
    expect((await ask(CHAT, { messages, seed: -2 })).error?.param).toBe('seed')
  })
})

describe('token ids', () => {
  it('may end a text and limit it, and are those of the model', async () => {
    const body = { prompt: 'a', max_tokens: 12, temperature: 0, allowed_token_ids: [20, 21], logprobs: 0 }
    const { choices } = (await ask('/v1/completions', body)) as unknown as {
      choices: [{ logprobs: { tokens: string[] } }]
    }
    const { tokenizer } = model
    const allowed = await Promise.all([20, 21].map((id) => tokenizer!.decode([id])))
    const { tokens } = choices[0].logprobs
    expect(tokens).toHaveLength(12)
    for (const token of tokens) expect(allowed).toContain(token)
    const ends = { ...body, stop_token_ids: [20, 21], logprobs: undefined }
    expect(await ask('/v1/completions', ends)).toMatchObject({
      choices: [{ text: '', finish_reason: 'stop' }],
      usage: { completion_tokens: 1 },
    })
    const shown = await ask('/v1/completions', { ...ends, include_stop_str_in_output: true })
    expect(shown).toMatchObject({ choices: [{ text: tokens[0], finish_reason: 'stop' }] })
    for (const name of ['stop_token_ids', 'allowed_token_ids']) {
      const { status, error } = await ask('/v1/completions', { prompt: 'a', [name]: [502] })
      expect([status, error?.message]).toEqual([
        400,
        `${name} names the token 502, but the model's tokens are 0 to 501.`,
      ])
      expect((await ask('/v1/completions', { prompt: 'a', [name]: [-1] })).error?.param).toBe(name)
    }
    const bound = { ignore_eos: true, structured_outputs: { regex: 'a' } }
    expect((await ask('/v1/completions', { prompt: 'a', ...bound })).error?.param).toBe('ignore_eos')
    const none = { allowed_token_ids: [tokenizer!.eosId], structured_outputs: { regex: 'a' } }
    expect((await ask('/v1/completions', { prompt: 'a', ...none })).error?.message).toMatch(
      /^No token of allowed_token_ids fits the constraint here/,
    )
  })

  it('are turned into text, and back', async () => {
    const { tokens } = (await ask('/tokenize', { prompt: 'Some words' })) as unknown as { tokens: number[] }
    expect(await ask('/detokenize', { tokens })).toEqual({ status: 200, prompt: await model.tokenizer!.decode(tokens) })
    for (const tokens of ['a', [502], [[1]], undefined])
      expect((await ask('/detokenize', { tokens })).error?.param).toBe('tokens')
  })

  it('of a prompt that is asked again come from the prefix cache', async () => {
    const prompt = Array.from({ length: 150 }, (_, i) => i + 10)
    const usages = []
    for (let i = 0; i < 2; i++) {
      const { usage } = (await ask('/v1/completions', { prompt, max_tokens: 1 })) as unknown as { usage: object }
      usages.push(usage)
    }
    expect(usages).toMatchObject([
      { prompt_tokens: 150, prompt_tokens_details: { cached_tokens: 0 } },
      { prompt_tokens: 150, prompt_tokens_details: { cached_tokens: 128 } },
    ])
  })
})

describe('a request', () => {
  it('may leave the number of new tokens to the server', async () => {
    script(() => [{ text: 'a' }])
    await using small = serve(model, { maxTokens: 7 })
    for (const [body, most] of [
      [{}, 7],
      [{ max_tokens: 9 }, 9],
      [{ max_tokens: -1 }, MAX_POSITIONS],
    ] as const) {
      await ask(CHAT, { messages, ...body }, small)
      expect(asked.mock.lastCall![0].maxNewTokens).toBe(most)
    }
  })

  it('that cannot fit is refused before anything encodes it', async () => {
    const { tokenizer, config } = model
    const encode = vi.spyOn(tokenizer!, 'encodeText')
    const least = config.maxPositions * tokenizer!.longestToken
    const long = ' '.repeat(least + 1)
    const parts = [long.slice(0, least / 2), long.slice(0, least / 2), '  '].map((text) => ({ type: 'text', text }))
    for (const [path, body, param] of [
      ['/v1/completions', { prompt: ['a', long] }, 'prompt'],
      ['/v1/completions', { prompt: Array(MAX_POSITIONS + 1).fill(1) }, 'prompt'],
      ['/v1/embeddings', { input: long }, 'input'],
      [CHAT, { messages: [{ role: 'user', content: parts }] }, 'messages'],
    ] as const) {
      const { status, error } = await ask(path, body)
      expect([status, error]).toEqual([400, expect.objectContaining({ param, code: 'context_length_exceeded' })])
    }
    expect(encode).not.toHaveBeenCalled()
    encode.mockRestore()
  })

  it('refuses to write at least more tokens than at most', async () => {
    const cases = [
      ['/v1/completions', { prompt: 'a', max_tokens: 4, min_tokens: 5 }, 4],
      ['/v1/completions', { prompt: 'a', min_tokens: 17, stream: true }, 16],
      [CHAT, { messages, max_completion_tokens: 4, min_tokens: 5 }, 4],
      [CHAT, { messages, min_tokens: MAX_POSITIONS + 1 }, MAX_POSITIONS],
    ] as const
    for (const [path, body, most] of cases) {
      const { status, error } = await ask(path, body)
      expect([status, error?.param, error?.message]).toEqual([
        400,
        'min_tokens',
        `Expected min_tokens to be at most max_tokens, which is ${most}, but received ${body.min_tokens}.`,
      ])
    }
    expect((await ask(CHAT, { messages, max_tokens: 4, min_tokens: 4 })).status).toBe(200)
  })

  it('says which part of a message is no text, and that options of streams need one', async () => {
    const content = [
      { type: 'text', text: 'a' },
      { type: 'image_url', image_url: { url: 'data:' } },
    ]
    const { error } = await ask(CHAT, { messages: [{ role: 'user', content }] })
    expect(error?.message).toBe(
      'Expected text, the only type of content that is supported, for messages[0].content[1].type but received "image_url".',
    )
    const begun = await ask(CHAT, { messages: [...messages, { role: 'assistant', content: 'The', prefix: true }] })
    expect(begun.error?.message).toMatch(/for messages\[1\]\.prefix but received true\.$/)
    for (const [path, body] of ROUTES.slice(0, 2))
      expect((await ask(path, { ...body, stream_options: { include_usage: true } })).error?.param).toBe(
        'stream_options',
      )
    expect((await ask('/tokenize', { messages, model: '' })).status).toBe(200)
  })
})

describe('a message that the answer continues', () => {
  const begun = [...messages, { role: 'assistant', content: 'One, two,' }]
  const idsOf = async (body: object) => ((await ask('/tokenize', body)) as { tokens?: number[] }).tokens!
  const textOf = async (body: object) => model.tokenizer!.decode(await idsOf(body))

  it('ends the prompt with its text, and the answer has only what is added', async () => {
    const open = await textOf({ messages })
    expect(await textOf({ messages: begun, continue_final_message: true })).toBe(`${open}One, two,`)
    expect(await textOf({ messages: begun, add_generation_prompt: false })).toBe(`${open}One, two,<|im_end|>\n`)
    const structured_outputs = { regex: ' three' }
    const request = { messages: begun, continue_final_message: true, structured_outputs, max_tokens: 20 }
    expect(await ask(CHAT, request)).toMatchObject({ choices: [{ message: { content: ' three' } }] })
    const thinking = { role: 'assistant', content: '<think>\nOne' }
    const grammar = 'root ::= "two</think>three"'
    const thought = await ask(CHAT, { ...request, messages: [...messages, thinking], structured_outputs: { grammar } })
    expect(thought).toMatchObject({ choices: [{ message: { content: 'three', reasoning_content: 'two' } }] })
    const { error } = await ask('/v1/responses', { input: 'a', continue_final_message: true })
    expect(error?.message).toContain('ask /v1/chat/completions')
  })

  it.each([
    [{ messages: begun, continue_final_message: true, add_generation_prompt: true }, 'excludes'],
    [{ messages, continue_final_message: true }, 'but received a message of the role user'],
    [
      { messages: [...messages, { role: 'assistant', content: null, tool_calls: [] }], continue_final_message: true },
      'without a text',
    ],
  ])('is refused by name: %j', async (body, message) => {
    for (const path of [CHAT, '/tokenize']) {
      const { status, error } = await ask(path, body)
      expect([status, error?.param, error?.message]).toEqual([
        400,
        'continue_final_message',
        expect.stringContaining(message),
      ])
    }
  })
})

describe('tools', () => {
  it('are refused where the template would not show them, unless another template is given', async () => {
    using plain = await tinyModel({ template: CALLING })
    await using unaware = serve(plain)
    const named = { type: 'function', function: { name: 'f' } }
    for (const choice of ['auto', 'required', named]) {
      const { status, error } = await ask(CHAT, { messages, tools, tool_choice: choice }, unaware)
      expect([status, error?.param]).toEqual([400, 'tools'])
      expect(error!.message).toMatch(/^The chat template prints no tools.*\(the server's option template\)\.$/)
    }
    expect((await ask('/tokenize', { messages, tools }, unaware)).error?.param).toBe('tools')
    expect((await ask(CHAT, { messages, tools, tool_choice: 'none', max_tokens: 2 }, unaware)).status).toBe(200)

    const template = join(folder(), 'tools.jinja')
    writeFileSync(template, WITH_TOOLS)
    await using aware = serve(plain, { template })
    expect((await ask(CHAT, { messages, tools, max_tokens: 2 }, aware)).status).toBe(200)
    expect(asked.mock.lastCall![0]).toMatchObject({ template, tools })
    const counts = await Promise.all(
      [{ messages }, { messages, tools }].map(
        async (body) => (await ask('/tokenize', body, aware)) as { count?: number },
      ),
    )
    expect(counts[1]!.count).toBeGreaterThan(counts[0]!.count!)
  })
})
