/** Anthropic's client: messages, streams, tools, objects, counts, errors. */
import assert from 'node:assert/strict'
import Anthropic from '@anthropic-ai/sdk'
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod'
import { Answer, baseURL, model, tool } from './common.mjs'

const client = new Anthropic({ baseURL: baseURL.replace(/\/v1$/, ''), apiKey: 'none', maxRetries: 0 })
const messages = [{ role: 'user', content: 'Hello!' }]
const short = { model, messages, max_tokens: 8, seed: 1 }

const whole = await client.messages.create(short)
const streamed = await client.messages.stream(short).finalMessage()
assert.deepEqual([streamed.content, streamed.stop_reason], [whole.content, whole.stop_reason])
const { input_tokens: counted } = await client.messages.countTokens({ model, messages })
assert.equal(counted, whole.usage.input_tokens + whole.usage.cache_read_input_tokens)

const output_config = { format: zodOutputFormat(Answer) }
const { parsed_output } = await client.messages.parse({ ...short, max_tokens: 64, output_config })
assert.equal(typeof parsed_output.right, 'boolean')

const { name, description, parameters: input_schema } = tool
const tools = [{ name, description, input_schema }]
const forced = { ...short, max_tokens: 64, tools, tool_choice: { type: 'any' } }
const { content, stop_reason } = await client.messages.create(forced)
assert.deepEqual([content[0].name, stop_reason], [name, 'tool_use'])
assert.deepEqual((await client.messages.stream(forced).finalMessage()).content[0].input, content[0].input)
const result = { type: 'tool_result', tool_use_id: content[0].id, content: 'It rains.' }
const told = [...messages, { role: 'assistant', content }, { role: 'user', content: [result] }]
await client.messages.create({ ...short, tools, messages: told })
await assert.rejects(client.messages.create({ ...short, model: 'other' }), Anthropic.NotFoundError)
console.log('messages, streams, objects, tools, counts, errors')
