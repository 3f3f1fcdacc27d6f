/** OpenAI's agents, by chats and by responses. */
import assert from 'node:assert/strict'
import { Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, run, setTracingDisabled, tool } from '@openai/agents'
import OpenAI from 'openai'
import { Answer, baseURL, model, Weather } from './common.mjs'

setTracingDisabled(true)
const client = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 })
for (const by of [new OpenAIChatCompletionsModel(client, model), new OpenAIResponsesModel(client, model)]) {
  const settings = { name: 'A', instructions: 'Be short.', model: by }
  // An answer that a limit cuts is an error of the package's responses.
  const greeting = { providerData: { structured_outputs: { choice: ['Good day.'] } } }
  const greeter = new Agent({ ...settings, modelSettings: greeting })
  assert.equal((await run(greeter, 'Hello!')).finalOutput, 'Good day.')
  const streamed = await run(greeter, 'Hello!', { stream: true })
  await streamed.completed
  assert.equal(streamed.finalOutput, 'Good day.')

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
    // Room for the calls that random weights repeat: an answer that a limit cuts is an error, too.
    modelSettings: { toolChoice: 'required', maxTokens: 400 },
  })
  await run(teller, 'Weather?')
  assert.match(asked, /^(sun|rain)$/)
}
console.log('texts, objects, tools')
