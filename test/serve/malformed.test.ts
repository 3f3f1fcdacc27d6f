/** Requests that are damaged in every way, drawn with a seed: never a failure of the server, always a sentence. */
import { rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { type RandomStream, randomStream } from '../../lib/common/random.js'
import { ChatBody } from '../../lib/serve/chat-fields.js'
import { listField } from '../../lib/serve/fields.js'
import { serve } from '../../lib/serve/index.js'
import { quickFolder } from '../io/temporary.js'
import { addRandomAdapter, NAME, script, tinyModel } from './tiny-server.js'

const errors: unknown[] = []
const adapter = quickFolder()
const jobs = quickFolder()
let ask: (path: string, body: string) => Promise<Response>
let close: () => Promise<void>
beforeAll(async () => {
  const model = await tinyModel()
  model.addHead(['score'])
  await addRandomAdapter(model, 'written', 1)
  await model.saveAdapter('written', adapter)
  model.removeAdapter('written')
  const server = serve(model, {
    name: NAME,
    maxBatch: 1000,
    allowLoading: true,
    jobs: { folder: jobs, graders: { own: () => 1 } },
    onError: (error) => void errors.push(error),
  })
  close = async () => {
    await server.close()
    model.dispose()
    for (const folder of [adapter, jobs]) rmSync(folder, { recursive: true })
  }
  ask = (path, body) =>
    server.fetch(
      new Request(`http://any${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body }),
    )
})
afterAll(() => close())

const tool = { type: 'function', function: { name: 'f', parameters: { type: 'object', properties: { a: {} } } } }
const call = { id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } }
const sampling = {
  model: NAME,
  n: 1,
  stream: false,
  stream_options: null,
  temperature: 1,
  top_p: 0.5,
  top_k: 3,
  top_n_sigma: 2,
  min_p: 0.1,
  typical_p: 0.9,
  presence_penalty: 1,
  frequency_penalty: 1,
  repetition_penalty: 1.1,
  logit_bias: { 3: 1 },
  min_tokens: 1,
  max_tokens: 2,
  seed: 3,
  stop: ['a', 'b'],
  structured_outputs: { regex: 'a' },
  json_schema: null,
  json_spacing: 'compact',
  grammar: '',
  bad_words: ['zz'],
  no_repeat_ngram_size: 3,
  stop_token_ids: [3],
  allowed_token_ids: null,
  include_stop_str_in_output: true,
  ignore_eos: false,
  repeat_penalty: 1,
}
const check = {
  type: 'string_check',
  name: 'a',
  operation: 'eq',
  input: '{{ sample.output_text }}',
  reference: '{{ item.a[0].b }}',
  pass_threshold: 0.5,
}
const grader = {
  type: 'multi',
  name: 'm',
  graders: {
    check,
    near: { ...check, operation: undefined, type: 'text_similarity', evaluation_metric: 'rouge_l' },
    own: { type: 'program', name: 'own' },
    judge: {
      type: 'score_model',
      name: 'j',
      model: NAME,
      input: [{ role: 'user', content: [{ type: 'input_text', text: 'a' }] }],
      range: [0, 1],
      sampling_params: { seed: 1, top_p: 0.5, temperature: 1, max_completions_tokens: 2 },
    },
  },
  calculate_output: 'min(check, near) + own / 2 ^ judge',
}
/** Requests that are right, with every field that the server reads. */
const RIGHT: Readonly<Record<string, object>> = {
  '/v1/chat/completions': {
    ...sampling,
    messages: [
      { role: 'system', content: 'a' },
      { role: 'user', content: [{ type: 'text', text: 'b' }] },
      { role: 'assistant', content: null, tool_calls: [call] },
      { role: 'tool', tool_call_id: 'c', content: 'd' },
    ],
    max_completion_tokens: 2,
    continue_final_message: false,
    add_generation_prompt: true,
    logprobs: true,
    top_logprobs: 2,
    tools: [tool],
    tool_choice: 'auto',
    parallel_tool_calls: true,
    response_format: { type: 'text' },
    chat_template_kwargs: { enable_thinking: false },
    reasoning_effort: 'low',
  },
  '/v1/responses': {
    ...sampling,
    max_tokens: null,
    input: [
      { role: 'user', content: [{ type: 'input_text', text: 'a' }] },
      { type: 'reasoning', id: 'r', summary: [{ type: 'summary_text', text: 'b' }], encrypted_content: 'mora:YQ==' },
      { type: 'function_call', call_id: 'c', name: 'f', arguments: '{}' },
      { type: 'function_call_output', call_id: 'c', output: 'd' },
      { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'e' }] },
    ],
    instructions: 'a',
    max_output_tokens: 2,
    include: ['message.output_text.logprobs'],
    top_logprobs: 2,
    tools: [{ type: 'function', ...tool.function, strict: true }],
    tool_choice: 'auto',
    parallel_tool_calls: true,
    text: { format: { type: 'text' } },
    reasoning: { effort: 'low', summary: 'auto' },
    store: true,
    metadata: {},
    user: 'a',
    chat_template_kwargs: { enable_thinking: false },
  },
  '/v1/messages': {
    ...sampling,
    stop: null,
    system: [{ type: 'text', text: 'a', cache_control: { type: 'ephemeral' } }],
    messages: [
      { role: 'user', content: 'a' },
      {
        role: 'assistant',
        content: [
          { type: 'thinking', thinking: 'b', signature: '' },
          { type: 'tool_use', id: 'c', name: 'f', input: {} },
        ],
      },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'c', content: [{ type: 'text', text: 'd' }] }] },
    ],
    stop_sequences: ['a'],
    tools: [{ name: 'f', description: 'a', input_schema: tool.function.parameters }],
    tool_choice: { type: 'auto', disable_parallel_tool_use: true },
    thinking: { type: 'enabled', budget_tokens: 1024 },
    output_config: { effort: 'low', format: null },
    metadata: { user_id: 'a' },
  },
  '/v1/messages/count_tokens': { model: NAME, messages: [{ role: 'user', content: 'a' }], system: 'b' },
  '/v1/completions': { ...sampling, prompt: ['a', 'b'], echo: true, logprobs: 2, best_of: 1, suffix: '' },
  '/v1/embeddings': { model: NAME, input: [[1, 2], [3]], encoding_format: 'float', dimensions: 32 },
  '/v1/score': { model: NAME, text_1: 'a', text_2: ['b', 'c'], use_activation: false },
  '/v1/rerank': { model: NAME, query: 'a', documents: ['b', { text: 'c' }], top_n: 1, return_documents: true },
  '/tokenize': { model: NAME, prompt: 'a', add_special_tokens: true, return_token_strs: true },
  '/detokenize': { model: NAME, tokens: [3, 4] },
  '/v1/fine_tuning/alpha/graders/validate': { grader },
  '/v1/fine_tuning/alpha/graders/run': { grader, model_sample: '{"a": 1}', item: { a: [{ b: 'c' }] } },
  '/v1/load_lora_adapter': { lora_name: 'a', lora_path: adapter, load_inplace: true },
  '/v1/unload_lora_adapter': { lora_name: 'b' },
}

const VALUES: readonly unknown[] = [
  ...[null, true, false, 0, -1, 1.5, 1e300, 2 ** 60, '', 'text', '\u0000', '\ud800', 'x'.repeat(5000)],
  ...[
    [],
    [null],
    ['a'],
    [[]],
    [1, -1],
    {},
    { a: 1 },
    { __proto__: null, toString: 1 },
    [[[[1]]]],
    Array(200).fill('a'),
  ],
]

/** Every place in a value, as a path. */
function placesOf(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [path]
  return [path, ...Object.entries(value).flatMap(([key, inside]) => placesOf(inside, [...path, key]))]
}

const pick = <Item>(random: RandomStream, items: readonly Item[]): Item =>
  structuredClone(items[Math.floor(random.uniform() * items.length)]!)

/** Replaces, removes or adds something in a request. */
function damaged(request: object, random: RandomStream): unknown {
  const copy = structuredClone(request)
  for (let count = 1 + Math.floor(random.uniform() * 3); count > 0; count--) {
    const path = pick(random, placesOf(copy))
    if (path.length === 0) {
      if (random.uniform() < 0.1) return pick(random, VALUES)
      continue
    }
    const parent = path.slice(0, -1).reduce((inside, key) => (inside as Record<string, object>)[key]!, copy)
    const key = path.at(-1)!
    const way = random.uniform()
    if (way < 0.2) delete (parent as Record<string, unknown>)[key]
    else if (way < 0.3)
      Object.assign(parent, { [pick(random, ['extra', 'type', 'role', 'content'])]: pick(random, VALUES) })
    else Object.assign(parent, { [key]: pick(random, VALUES) })
  }
  return copy
}

it.each(Object.entries(RIGHT))('%s answers the undamaged request', async (path, body) => {
  script(() => [{ text: 'a' }])
  const response = await ask(path, JSON.stringify(body))
  expect([200, 404], await response.text()).toContain(response.status)
})

/** Sends damaged requests, and returns how many answers had each status. */
async function sendDamaged(path: string, right: object, rounds: number): Promise<Record<number, number>> {
  const random = randomStream(7, path)
  const counts: Record<number, number> = {}
  for (let round = 0; round < rounds; round++) {
    const text = JSON.stringify(damaged(right, random))
    const sent = random.uniform() < 0.1 ? text.slice(0, Math.floor(random.uniform() * text.length)) : text
    const response = await ask(path, sent)
    counts[response.status] = (counts[response.status] ?? 0) + 1
    const said = await response.text()
    expect(response.status, `${sent}\n${said}`).toBeLessThan(500)
    if (response.status === 200) continue
    const { error } = JSON.parse(said) as { error: Record<string, unknown> }
    expect(error.message, sent).toMatch(/^[A-Z][^\n]{5,2000}\.$/)
    const keys = path.startsWith('/v1/messages') ? ['type', 'message'] : ['message', 'type', 'param', 'code']
    expect(Object.keys(error)).toEqual(keys)
  }
  expect(errors).toEqual([])
  return counts
}

it.each(Object.entries(RIGHT))('%s refuses damaged ones in words', async (path, right) => {
  script(() => [{ text: 'a' }])
  expect((await sendDamaged(path, right, 500))[400]).toBeGreaterThan(100)
})

it.each(['/v1/chat/completions', '/v1/completions'])(
  '%s writes texts for the others, or says why not',
  async (path) => {
    // Constraints are in openai.test.ts: their thread takes a second to begin.
    const counts = await sendDamaged(path, { ...RIGHT[path], structured_outputs: null }, 60)
    expect(counts[200]).toBeGreaterThan(5)
  },
)

it('every field that a chat has is among those that are damaged', () => {
  const known = Object.keys((ChatBody as z.ZodObject).shape)
  expect(Object.keys(RIGHT['/v1/chat/completions']!)).toEqual(expect.arrayContaining(known))
})

describe('a body with millions of values', () => {
  const repeated = (text: string, count: number) => Array(count).fill(text).join(',')
  const CHAT = '/v1/chat/completions'
  const VALIDATE = '/v1/fine_tuning/alpha/graders/validate'
  const cases: [string, string, string, string][] = [
    ['ids', '/v1/completions', `{"prompt": [${repeated('1', 300_000)}, "a"]}`, 'prompt'],
    ['lists', '/v1/completions', `{"prompt": [${repeated('[1]', 300_000)}]}`, 'null'],
    ['parameters', CHAT, `{${Array.from({ length: 2000 }, (_, i) => `"k${i}":1`).join(',')}}`, 'null'],
    ['prompts', '/v1/completions', `{"n": 128, "prompt": [${repeated('[1]', 100_000)}]}`, 'null'],
    ['wrong messages', CHAT, `{"messages": [${repeated('1', 300_000)}]}`, 'messages'],
    ['messages without content', CHAT, `{"messages": [${repeated('{"role":"user"}', 16_000)}]}`, 'messages[0].content'],
    [
      'questions',
      VALIDATE,
      `{"grader": {"type": "score_model", "model": "a", "input": [${repeated('1', 300_000)}]}}`,
      'grader.input',
    ],
    ['parts', CHAT, `{"messages": [{"role": "user", "content": [${repeated('{}', 200_000)}]}]}`, 'messages[0].content'],
    ['stop strings', CHAT, `{"messages": [], "stop": [${repeated('1', 300_000)}]}`, 'stop'],
    [
      'choices',
      CHAT,
      `{"messages": [], "structured_outputs": {"choice": [${repeated('1', 300_000)}]}}`,
      'structured_outputs.choice',
    ],
    [
      'biases',
      CHAT,
      `{"messages": [], "logit_bias": {${Array.from({ length: 100_000 }, (_, i) => `"${i}":"x"`).join(',')}}}`,
      'logit_bias',
    ],
    ['tools', CHAT, `{"messages": [{"role": "user", "content": "a"}], "tools": [${repeated('{}', 200_000)}]}`, 'tools'],
    [
      'letters in a word',
      CHAT,
      `{"messages": [{"role": "user", "content": "a"}], "bad_words": ["${'a'.repeat(5000)}"]}`,
      'bad_words[0]',
    ],
    [
      'variables',
      CHAT,
      `{"messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": {"a": [${repeated('1', 200_000)}]}}`,
      'chat_template_kwargs',
    ],
    ['an error at its end', CHAT, `{"messages": [${repeated('{"role":"user"}', 100_000)}`, 'null'],
  ]
  it.each(cases)('of %s is refused by the first that is wrong', async (_, path, body, param) => {
    const response = await ask(path, body)
    const { error } = (await response.json()) as { error: { message: string; param: string | null } }
    expect([response.status, String(error.param)]).toEqual([400, param])
    expect(error.message.length).toBeLessThan(300)
  })

  it('makes no issue for each of them', () => {
    let read = 0
    const item = z.custom(() => {
      read++
      return false
    })
    const list = listField(item, 'a list', { most: 10 })
    expect(list.safeParse(Array(10).fill(0)).error?.issues).toHaveLength(1)
    expect(list.safeParse(Array(11).fill(0)).success).toBe(false)
    expect(read).toBe(1)
  })
})
