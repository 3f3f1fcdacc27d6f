/** OpenAI's agents, by chats. */
import assert from 'node:assert/strict'
import { Agent, OpenAIChatCompletionsModel, run, setTracingDisabled, tool } from '@openai/agents'
import OpenAI from 'openai'
import { Answer, baseURL, model, Weather } from './common.mjs'

setTracingDisabled(true)
const client = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 })
const chat = new OpenAIChatCompletionsModel(client, model)
const settings = { name: 'A', instructions: 'Be short.', model: chat }
const { finalOutput } = await run(new Agent({ ...settings, modelSettings: { maxTokens: 8 } }), 'Hello!')
assert.equal(typeof finalOutput, 'string')

const judge = new Agent({ ...settings, outputType: Answer, modelSettings: { maxTokens: 64 } })
assert.equal(typeof (await run(judge, 'Is it?')).finalOutput.right, 'boolean')

let asked
const execute = async ({ sky }) => {
  asked = sky
  return sky
}
const weather = tool({ name: 'weather', description: 'Tells the weather', parameters: Weather, execute })
const teller = new Agent({
  ...settings,
  tools: [weather],
  toolUseBehavior: 'stop_on_first_tool',
  modelSettings: { toolChoice: 'required', maxTokens: 64 },
})
await run(teller, 'Weather?')
assert.match(asked, /^(sun|rain)$/)
console.log('texts, objects, tools')
