/** OpenAI's client: a file, a job and its model. */
import assert from 'node:assert/strict'
import { setTimeout as passed } from 'node:timers/promises'
import OpenAI, { toFile } from 'openai'
import { baseURL, model } from './common.mjs'

const client = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 })
const messages = [{ role: 'user', content: 'Hello!' }]
const row = JSON.stringify({ messages: [...messages, { role: 'assistant', content: 'Good day.' }] })
const rows = new Array(10).fill(row).join('\n')
const file = await client.files.create({ file: await toFile(Buffer.from(rows), 'rows.jsonl'), purpose: 'fine-tune' })
const ended = async (job) => {
  while (!['succeeded', 'failed', 'cancelled'].includes(job.status)) {
    await passed(500)
    job = await client.fineTuning.jobs.retrieve(job.id)
  }
  assert.equal(job.status, 'succeeded', JSON.stringify(job.error))
  return job
}
const supervised = { hyperparameters: { n_epochs: 1, batch_size: 5 } }
const method = { type: 'supervised', supervised }
const job = await ended(
  await client.fineTuning.jobs.create({ model, training_file: file.id, suffix: 'polite', method }),
)
assert.equal((await client.fineTuning.jobs.listEvents(job.id)).data.length > 0, true)
await client.chat.completions.create({ model: job.fine_tuned_model, messages, max_tokens: 4 })
assert.equal((await client.models.delete(job.fine_tuned_model)).deleted, true)
await client.files.delete(file.id)

const input = '{{ sample.output_text }}'
const reference = '{{ item.wanted }}'
const grader = { type: 'text_similarity', name: 'near', evaluation_metric: 'fuzzy_match', input, reference }
await client.fineTuning.alpha.graders.validate({ grader })
const item = { messages, wanted: 'Good day.' }
assert.equal((await client.fineTuning.alpha.graders.run({ grader, item, model_sample: 'Good day.' })).reward, 1)
const prompts = await toFile(Buffer.from(JSON.stringify(item)), 'prompts.jsonl')
const questions = await client.files.create({ file: prompts, purpose: 'fine-tune' })
const reinforcement = { grader, hyperparameters: { n_epochs: 1, batch_size: 1 }, mora: { max_tokens: 8 } }
const graded = { type: 'reinforcement', reinforcement }
await ended(await client.fineTuning.jobs.create({ model, training_file: questions.id, method: graded }))

const body = { model, messages, max_tokens: 4 }
const request = { custom_id: 'one', method: 'POST', url: '/v1/chat/completions', body }
const requests = await toFile(Buffer.from(JSON.stringify(request)), 'batch.jsonl')
const { id: input_file_id } = await client.files.create({ file: requests, purpose: 'batch' })
const { url: endpoint } = request
let batch = await client.batches.create({ input_file_id, endpoint, completion_window: '24h' })
while (!['completed', 'failed'].includes(batch.status)) {
  await passed(100)
  batch = await client.batches.retrieve(batch.id)
}
assert.equal(batch.request_counts.completed, 1, JSON.stringify(batch))
const answers = await (await client.files.content(batch.output_file_id)).text()
assert.equal(JSON.parse(answers).custom_id, 'one')
console.log('files, jobs of two methods, their events, a model, a grader, a batch')
