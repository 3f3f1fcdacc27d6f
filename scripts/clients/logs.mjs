/**
 * Calls as Langfuse, LangSmith (OpenAI's client and LangChain), the AI SDK and OpenLLMetry log them: as rows, each has the tokens of the
 * conversation that was logged, and the answer alone is trained.
 */
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { LegacyOpenTelemetry, OpenTelemetry } from '@ai-sdk/otel'
import { HumanMessage, SystemMessage, ToolMessage } from '@langchain/core/messages'
import { LangChainTracer } from '@langchain/core/tracers/tracer_langchain'
import { ChatOpenAI } from '@langchain/openai'
import { observeOpenAI } from '@langfuse/openai'
import { InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { NodeTracerProvider } from '@opentelemetry/sdk-trace-node'
import { OpenAIInstrumentation } from '@traceloop/instrumentation-openai'
import { generateText, tool as sdkTool } from 'ai'
import { Client } from 'langsmith'
import { wrapOpenAI } from 'langsmith/wrappers'
import OpenAI from 'openai'
import { z } from 'zod'
import { loadTokenizer, tokeniseRow } from '../../dist/index.js'
import { Answer, baseURL, model, tool, Weather } from './common.mjs'

const tokenizer = await loadTokenizer('../../test/golden/tokenizers/small-bpe')
const tools = [{ type: 'function', function: tool }]
const [instructions, question, result] = ['Be brief.', 'Weather?', 'Look outside.']
const asked = [
  { role: 'system', content: instructions },
  { role: 'user', content: question },
]
const settings = { model, tools, temperature: 0, max_tokens: 256 }
// The model of the check has random weights: a schema ends its answers.
const response_format = { type: 'json_schema', json_schema: { name: 'answer', schema: z.toJSONSchema(Answer) } }
const isAssistant = ({ role }) => role === 'assistant'

/** Returns the texts of the rows that are trained, with which tokens are. */
async function textsOf(rows) {
  const read = rows.map((row) => tokeniseRow(row, { tokenizer, template: 'logs.jinja', maxLength: 2048 }))
  const documents = (await Promise.all(read)).flatMap((row) => row.documents)
  return Promise.all(documents.map(async ({ ids, mask }) => [await tokenizer.decode(ids), mask.join('')]))
}

/** @param conversations the conversations that were logged, each with its answer at the end */
async function check(name, logged, conversations) {
  const rows = conversations.map((messages) => ({
    messages: messages.map((one, i) => (isAssistant(one) && i < messages.length - 1 ? { ...one, weight: 0 } : one)),
    tools,
  }))
  assert.deepEqual(await textsOf(logged), await textsOf(rows), name)
  names.push(name)
}
const names = []

/** A call of a function, and the answer to its result. */
async function converse(client) {
  const ask = async (messages, more) => {
    const { choices } = await client.chat.completions.create({ ...settings, messages, ...more })
    const { content, tool_calls } = choices[0].message
    return [...messages, { role: 'assistant', content, ...(tool_calls && { tool_calls }) }]
  }
  const called = await ask(asked, { tool_choice: 'required' })
  const id = called.at(-1).tool_calls[0].id
  return [
    called,
    await ask([...called, { role: 'tool', tool_call_id: id, content: result }], {
      tool_choice: 'none',
      response_format,
    }),
  ]
}
const openai = () => new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 })

const exporter = new InMemorySpanExporter()
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
provider.register()
function spans() {
  const all = exporter
    .getFinishedSpans()
    .map((span) => ({ ...span.spanContext(), ...span, attributes: span.attributes }))
  exporter.reset()
  return all.map(({ name, traceId, spanId, attributes, status }) => ({ name, traceId, spanId, attributes, status }))
}

const langfuse = await converse(observeOpenAI(openai()))
const observations = spans().map(({ spanId: id, traceId, attributes }) => {
  const field = (name) => attributes[`langfuse.observation.${name}`]
  const [input, output] = [field('input'), field('output')]
  return { id, traceId, type: field('type')?.toUpperCase(), level: field('level') ?? 'DEFAULT', input, output }
})
await check('Langfuse', observations, langfuse)

const instrumentation = new OpenAIInstrumentation({ traceContent: true })
instrumentation.setTracerProvider(provider)
instrumentation.manuallyInstrument(OpenAI)
const traced = await converse(openai())
await check('OpenLLMetry', spans(), traced)
instrumentation.disable()

for (const Telemetry of [OpenTelemetry, LegacyOpenTelemetry]) {
  spans()
  const { response } = await generateText({
    model: createOpenAICompatible({ name: 'mora', baseURL })(model),
    system: instructions,
    prompt: question,
    temperature: 0,
    maxOutputTokens: 256,
    telemetry: { isEnabled: true, integrations: [new Telemetry()] },
    toolChoice: 'required',
    tools: { weather: sdkTool({ description: tool.description, inputSchema: Weather, execute: () => result }) },
  })
  const { toolName: name, input } = response.messages[0].content.find(({ type }) => type === 'tool-call')
  const call = { type: 'function', function: { name, arguments: input } }
  await check(`AI SDK (${Telemetry.name})`, spans(), [[...asked, { role: 'assistant', tool_calls: [call] }]])
}

const runs = new Map()
const service = createServer(async (request, response) => {
  const pieces = await request.toArray()
  if (request.url.startsWith('/runs')) {
    const body = JSON.parse(Buffer.concat(pieces))
    const id = body.id ?? request.url.split('/').at(-1)
    runs.set(id, { ...runs.get(id), ...body })
  }
  response.setHeader('content-type', 'application/json').end('{}')
})
await new Promise((resolve) => service.listen(0, '127.0.0.1', resolve))
const apiUrl = `http://127.0.0.1:${service.address().port}`
const client = new Client({ apiUrl, apiKey: 'none', autoBatchTracing: false })
/** Returns the runs once both calls have ended. */
async function logged() {
  while ([...runs.values()].filter(({ outputs }) => outputs).length < 2)
    await new Promise((done) => setTimeout(done, 50))
  const all = [...runs.values()]
  runs.clear()
  return all
}
const wrapped = await converse(wrapOpenAI(openai(), { client, tracingEnabled: true }))
await check('LangSmith', await logged(), wrapped)

const chat = new ChatOpenAI({
  model,
  apiKey: 'none',
  temperature: 0,
  maxTokens: 256,
  maxRetries: 0,
  configuration: { baseURL },
})
const callbacks = [new LangChainTracer({ client })]
const first = [new SystemMessage(instructions), new HumanMessage(question)]
const call = await chat.bindTools(tools, { tool_choice: 'required' }).invoke(first, { callbacks })
const [{ id, name, args }] = call.tool_calls
const second = [...first, call, new ToolMessage({ tool_call_id: id, content: result })]
const { content } = await chat.bindTools(tools, { tool_choice: 'none', response_format }).invoke(second, { callbacks })
const called = [
  ...asked,
  { role: 'assistant', tool_calls: [{ type: 'function', function: { name, arguments: args } }] },
]
const answered = [...called, { role: 'tool', content: result }, { role: 'assistant', content }]
await check('LangChain', await logged(), [called, answered])
service.close()
console.log(names.join(', '))
