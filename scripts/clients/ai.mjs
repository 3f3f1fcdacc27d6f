/** The AI SDK with its provider for compatible servers, and with OpenAI's by chats and by responses. */
import assert from 'node:assert/strict'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { embedMany, generateText, isStepCount, Output, streamText, tool } from 'ai'
import { Answer, baseURL, model, Weather } from './common.mjs'

const compatible = createOpenAICompatible({ name: 'mora', baseURL, supportsStructuredOutputs: true })
const openai = createOpenAI({ baseURL, apiKey: 'none' })
const weather = tool({ inputSchema: Weather, execute: async ({ sky }) => sky })

for (const chat of [compatible(model), openai.chat(model), openai(model)]) {
  const request = { model: chat, prompt: 'Hello!', maxOutputTokens: 64, temperature: 0, maxRetries: 0 }
  const { text } = await generateText({ ...request, maxOutputTokens: 8 })
  assert.equal(await streamText({ ...request, maxOutputTokens: 8 }).text, text)
  const { output } = await generateText({ ...request, output: Output.object({ schema: Answer }) })
  assert.equal(typeof output.right, 'boolean')
  const { toolResults } = await generateText({ ...request, tools: { weather }, toolChoice: 'required' })
  assert.match(toolResults[0].output, /^(sun|rain)$/)
  // The second step refers to the items of the first, where the provider takes them to be stored.
  const toolChoice = ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? 'required' : 'none' })
  const steps = { ...request, tools: { weather }, prepareStep: toolChoice, stopWhen: isStepCount(2) }
  assert.equal((await generateText(steps)).steps.length, 2)
  assert.equal((await streamText(steps).steps).length, 2)
}
const { embeddings } = await embedMany({ model: compatible.embeddingModel(model), values: ['a', 'b'] })
assert.equal(embeddings.length, 2)
console.log('both providers, by chats and responses: texts, streams, objects, tools, embeddings')
