/** The AI SDK with its provider for compatible servers, and with OpenAI's by chats. */
import assert from 'node:assert/strict'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { embedMany, generateText, Output, streamText, tool } from 'ai'
import { Answer, baseURL, model, Weather } from './common.mjs'

const compatible = createOpenAICompatible({ name: 'mora', baseURL, supportsStructuredOutputs: true })
const openai = createOpenAI({ baseURL, apiKey: 'none' })
const weather = tool({ inputSchema: Weather, execute: async ({ sky }) => sky })

for (const chat of [compatible(model), openai.chat(model)]) {
  const request = { model: chat, prompt: 'Hello!', maxOutputTokens: 64, seed: 1, maxRetries: 0 }
  const { text } = await generateText({ ...request, maxOutputTokens: 8 })
  assert.equal(await streamText({ ...request, maxOutputTokens: 8 }).text, text)
  const { output } = await generateText({ ...request, output: Output.object({ schema: Answer }) })
  assert.equal(typeof output.right, 'boolean')
  const { toolResults } = await generateText({ ...request, tools: { weather }, toolChoice: 'required' })
  assert.match(toolResults[0].output, /^(sun|rain)$/)
}
const { embeddings } = await embedMany({ model: compatible.embeddingModel(model), values: ['a', 'b'] })
assert.equal(embeddings.length, 2)
console.log('both providers: texts, streams, objects, tools, embeddings')
