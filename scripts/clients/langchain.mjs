/** LangChain's client. */
import assert from 'node:assert/strict'
import { tool } from '@langchain/core/tools'
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai'
import { Answer, baseURL, model, Weather } from './common.mjs'

const configuration = { baseURL }
const settings = { model, apiKey: 'none', maxTokens: 64, maxRetries: 0, configuration }
const chat = new ChatOpenAI(settings)
assert.equal(typeof (await chat.invoke('Hello!')).content, 'string')
let pieces = 0
for await (const _ of await chat.stream('Hello!')) pieces++
assert.equal(pieces > 1, true)
const { right } = await chat.withStructuredOutput(Answer, { method: 'jsonSchema' }).invoke('Is it?')
assert.equal(typeof right, 'boolean')
const weather = tool(({ sky }) => sky, { name: 'weather', description: 'Tells the weather', schema: Weather })
const { tool_calls: calls } = await chat.bindTools([weather], { tool_choice: 'weather' }).invoke('Weather?')
assert.match(calls[0].args.sky, /^(sun|rain)$/)
const responses = new ChatOpenAI({ ...settings, useResponsesApi: true })
assert.equal(typeof (await responses.invoke('Hello!')).text, 'string')
const embeddings = new OpenAIEmbeddings({ model, apiKey: 'none', configuration })
assert.equal((await embeddings.embedDocuments(['a', 'b'])).length, 2)
console.log('texts, responses, streams, objects, tools, embeddings')
