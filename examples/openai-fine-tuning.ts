/**
 * OpenAI's fine-tuning by OpenAI's own client, on this machine: uploads rows, creates a job, follows its events, reads its results,
 * asks the tuned model, and deletes it.
 *
 *     node examples/openai-fine-tuning.ts [model] [folder] [epochs]   (Node 22.18 or newer; before: npx tsx examples/…)
 */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { serve as listen } from '@hono/node-server'
import { loadModel, serve } from 'node-mora'
import OpenAI, { toFile } from 'openai'

const [path = 'SmolLM2-135M-Instruct.Q4_1.gguf', folder = 'out/jobs', epochs = 'auto'] = process.argv.slice(2)
const model = await loadModel(path)
const llm = serve(model, { name: 'base', jobs: { folder } })
const server = listen({ fetch: llm.fetch, hostname: '127.0.0.1', port: 0 })
await once(server, 'listening')
const { port } = server.address() as AddressInfo

// From here on it is the program that was written for OpenAI, with another address and another name of the model.
const client = new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey: 'none' })

const tickets = {
  shipping: ['Where is my parcel?', 'The box came damaged.', 'Can you send it faster?', 'It went to my old address.'],
  billing: ['I was charged twice.', 'Send me the invoice.', 'Can I pay by card?', 'I want my money back.'],
  account: ['I forgot my password.', 'Please delete my data.', 'How do I change my name?', 'I cannot sign in.'],
}
const system = 'Say which team answers: shipping, billing or account.'
const rows = Object.entries(tickets).flatMap(([team, texts]) =>
  texts.map((text) => ({
    messages: [
      { role: 'system', content: system },
      { role: 'user', content: text },
      { role: 'assistant', content: team },
    ],
  })),
)
const upload = async (name: string, lines: readonly object[]) => {
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
  return client.files.create({ file: await toFile(Buffer.from(text), name), purpose: 'fine-tune' })
}
const training = await upload('tickets.jsonl', rows)
const validation = await upload('validation.jsonl', rows.slice(0, 3))

const ask = async (name: string) => {
  const messages = [
    { role: 'system' as const, content: system },
    { role: 'user' as const, content: 'I was charged twice.' },
  ]
  const answer = await client.chat.completions.create({ model: name, messages, max_tokens: 12, temperature: 0 })
  return answer.choices[0]!.message.content
}
console.log(`before: ${await ask('base')}`)

let job = await client.fineTuning.jobs.create({
  model: 'base',
  training_file: training.id,
  validation_file: validation.id,
  suffix: 'tickets',
  seed: 1,
  method: {
    type: 'supervised',
    supervised: { hyperparameters: { n_epochs: epochs === 'auto' ? 'auto' : Number(epochs) } },
  },
})
while (!['succeeded', 'failed', 'cancelled'].includes(job.status)) {
  await delay(200)
  job = await client.fineTuning.jobs.retrieve(job.id)
}
if (job.status !== 'succeeded') throw new Error(`The job has ${job.status}: ${job.error?.message}`)

const events = await client.fineTuning.jobs.listEvents(job.id, { limit: 6 })
for (const { message } of events.data.reverse()) console.log(message)
const results = await client.files.content(job.result_files[0]!)
console.log((await results.text()).split('\n').slice(0, 2).join('\n'))

const tuned = job.fine_tuned_model!
console.log(`${tuned}\nafter: ${await ask(tuned)}`)
await client.models.delete(tuned)
for (const { id } of [training, validation]) await client.files.delete(id)
const names = (await client.models.list()).data.map(({ id }) => id)
console.log(`served: ${names.join(', ')}`)

await llm.close()
server.close()
model.dispose()
