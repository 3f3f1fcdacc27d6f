/** OpenAI's own client: chats, responses, streams, tools, objects, completions, embeddings, errors. */
import assert from 'node:assert/strict'
import OpenAI from 'openai'
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod'
import { Answer, baseURL, model, tool } from './common.mjs'

const client = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 })
const messages = [{ role: 'user', content: 'Hello!' }]
const short = { model, messages, max_tokens: 8, seed: 1 }

const { choices, usage } = await client.chat.completions.create(short)
assert.equal(usage.completion_tokens > 0, true)
let streamed = ''
for await (const chunk of await client.chat.completions.create({ ...short, stream: true }))
  streamed += chunk.choices[0]?.delta.content ?? ''
assert.equal(streamed, choices[0].message.content)

const response_format = zodResponseFormat(Answer, 'answer')
const parsed = await client.chat.completions.parse({ ...short, max_tokens: 64, response_format })
assert.equal(typeof parsed.choices[0].message.parsed.right, 'boolean')

const tools = [{ type: 'function', function: tool }]
const forced = await client.chat.completions.create({ ...short, max_tokens: 64, tools, tool_choice: 'required' })
const [call] = forced.choices[0].message.tool_calls
assert.equal(call.function.name, tool.name)
const answered = { role: 'tool', tool_call_id: call.id, content: 'It rains.' }
await client.chat.completions.create({ ...short, tools, messages: [...messages, forced.choices[0].message, answered] })

const input = 'Hello!'
const brief = { model, input, max_output_tokens: 8, seed: 1 }
const response = await client.responses.create(brief)
assert.equal(response.output_text, choices[0].message.content)
const final = await client.responses.stream(brief).finalResponse()
assert.deepEqual([final.output_text, final.usage], [response.output_text, response.usage])
const text = { format: zodTextFormat(Answer, 'answer') }
const { output_parsed } = await client.responses.parse({ ...brief, max_output_tokens: 64, text })
assert.equal(typeof output_parsed.right, 'boolean')
const flat = [{ type: 'function', strict: true, ...tool }]
const asked = { ...brief, max_output_tokens: 64, tools: flat, tool_choice: 'required' }
const { output } = await client.responses.create(asked)
assert.equal(output[0].name, tool.name)
const told = { type: 'function_call_output', call_id: output[0].call_id, output: 'It rains.' }
await client.responses.create({ ...brief, tools: flat, input: [{ role: 'user', content: input }, ...output, told] })
await assert.rejects(client.responses.create({ ...brief, previous_response_id: 'resp_1' }), OpenAI.BadRequestError)

await client.completions.create({ model, prompt: 'Hello', max_tokens: 4 })
assert.equal((await client.embeddings.create({ model, input: ['a', 'b'] })).data.length, 2)
assert.equal((await client.models.list()).data[0].id, model)
await assert.rejects(client.chat.completions.create({ ...short, model: 'other' }), OpenAI.NotFoundError)
console.log('chats, responses, streams, objects, tools, completions, embeddings, models, errors')
