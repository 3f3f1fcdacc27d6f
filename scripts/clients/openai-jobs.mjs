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
const grader = { type: 'string_check', name: 'good', operation: 'ilike', input, reference: '{{ item.word }}' }
await client.fineTuning.alpha.graders.validate({ grader })
const item = { messages, word: 'good' }
assert.equal((await client.fineTuning.alpha.graders.run({ grader, item, model_sample: 'Good day.' })).reward, 1)
const prompts = await toFile(Buffer.from(JSON.stringify(item)), 'prompts.jsonl')
const questions = await client.files.create({ file: prompts, purpose: 'fine-tune' })
const reinforcement = { grader, hyperparameters: { n_epochs: 1, batch_size: 1 }, mora: { max_tokens: 8 } }
const graded = { type: 'reinforcement', reinforcement }
await ended(await client.fineTuning.jobs.create({ model, training_file: questions.id, method: graded }))
console.log('files, jobs of two methods, their events, a model, a grader')
