/** Jobs that train a tuned model further, by the `openai` package. */
import OpenAI, { toFile } from 'openai'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type { Model } from '../../lib/models/index.js'
import type { ServeOptions } from '../../lib/serve/index.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { NAME as model, startServer, tinyModel } from './tiny-server.js'

let tiny: Model
let server: Awaited<ReturnType<typeof startServer>>
let client: OpenAI
const folder = useTemporaryFolder()
beforeAll(async () => {
  tiny = await tinyModel()
})
beforeEach(() => start())
afterEach(async () => {
  expect(server.errors).toEqual([])
  await close()
})
afterAll(() => tiny.dispose())

async function start(options: ServeOptions = {}) {
  server = await startServer(tiny, { jobs: { folder: folder() }, ...options })
  client = clientOf('none')
}
async function close() {
  await server.close()
  expect([...tiny.adapters.keys()].filter((name) => !name.startsWith('ft:'))).toEqual([])
  for (const name of tiny.adapters.keys()) tiny.removeAdapter(name)
}
const clientOf = (apiKey: string) => new OpenAI({ baseURL: `${server.origin}/v1`, apiKey, maxRetries: 0 })

const asked = [{ role: 'user' as const, content: 'Say 1' }]
const answer = (content: string) => [{ role: 'assistant' as const, content }]
const examples = Array.from({ length: 4 }, () => ({ messages: [...asked, ...answer('A word.')] }))
const pairs = Array.from({ length: 4 }, (_, i) => ({
  input: { messages: asked },
  preferred_output: answer(`Good ${i}`),
  non_preferred_output: answer(`Bad ${i}`),
}))

async function upload(rows: readonly object[], by = client) {
  const text = rows.map((row) => `${JSON.stringify(row)}\n`).join('')
  return (await by.files.create({ file: await toFile(Buffer.from(text), 'rows.jsonl'), purpose: 'fine-tune' })).id
}
type Method = OpenAI.FineTuning.JobCreateParams.Method
const method = (type: 'supervised' | 'dpo', mora: object, n_epochs = 2) =>
  ({ type, [type]: { hyperparameters: { n_epochs, batch_size: 4 }, mora } }) as Method

async function ended(id: string, by = client) {
  for (;;) {
    const job = await by.fineTuning.jobs.retrieve(id)
    if (['succeeded', 'failed', 'cancelled'].includes(job.status)) return job
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
async function trained(base: string, rows: readonly object[], how: Method) {
  const training_file = await upload(rows)
  const { id } = await client.fineTuning.jobs.create({ model: base, training_file, method: how, seed: 1 })
  const job = await ended(id)
  expect(job).toMatchObject({ status: 'succeeded', error: null, model: base })
  return job
}
const says = async (name: string) => {
  const body = { model: name, messages: asked, max_tokens: 8, temperature: 0 }
  return (await client.chat.completions.create(body)).choices[0]!.message.content
}
const lossesOf = async (id: string) =>
  (await client.fineTuning.jobs.listEvents(id, { limit: 100 })).data
    .flatMap(({ type, data }) => (type === 'metrics' ? [data as { step: number; train_loss: number }] : []))
    .sort((a, b) => a.step - b.step)
    .map(({ train_loss }) => train_loss)

it('begin where the tuned model, or its checkpoint, ended', async () => {
  const first = await trained(
    model,
    examples,
    method('supervised', { method: 'lora', rank: 2, learning_rate: 0.05 }, 6),
  )
  const tuned = first.fine_tuned_model!
  const said = await says(tuned)
  expect(said).not.toBe(await says(model))
  const still = { learning_rate: 1e-7 }
  const further = await trained(tuned, examples, method('supervised', still))
  expect(further.fine_tuned_model).toMatch(/^ft:org\/tiny:local::/)
  expect(await says(further.fine_tuned_model!)).toBe(said)
  expect(further.method).toMatchObject({ supervised: { mora: { method: 'lora', rank: 2, ...still } } })
  const [before, after] = [await lossesOf(first.id), await lossesOf(further.id)]
  expect(after[0]!).toBeLessThan(before.at(-1)!)
  expect(after[1]!).toBeCloseTo(after[0]!, 3)
  const fromCheckpoint = await trained(`${tuned}:ckpt-step-4`, examples, method('supervised', still, 1))
  expect((await lossesOf(fromCheckpoint.id))[0]).toBeCloseTo(before[4]!, 5)
})

it('prefer answers beside the tuned model, also once it is deleted and the server has ended', async () => {
  const tuned = (await trained(model, examples, method('supervised', { rank: 2, learning_rate: 0.05 }, 4)))
    .fine_tuned_model!
  const training_file = await upload(pairs)
  const how = method('dpo', { learning_rate: 0.01 }, 30)
  const create = () => client.fineTuning.jobs.create({ model: tuned, training_file, method: how, seed: 1 })
  const [straight, interrupted] = [await create(), await create()]
  await client.models.delete(tuned)
  expect(await ended(straight.id)).toMatchObject({ status: 'succeeded' })
  await expect.poll(async () => (await lossesOf(interrupted.id)).length, { interval: 5 }).toBeGreaterThan(1)
  const names = (await client.models.list()).data.map(({ id }) => id)
  expect(names.filter((name) => name !== model && !name.startsWith('ft:'))).toEqual([])
  await close()
  await start()
  const job = await ended(interrupted.id)
  expect(job).toMatchObject({ status: 'succeeded' })
  const losses = await lossesOf(straight.id)
  // Before the first step it is its own reference.
  expect(losses[0]).toBeCloseTo(Math.LN2, 5)
  expect(losses.at(-1)!).toBeLessThan(losses[0]! - 0.01)
  expect(await lossesOf(job.id)).toEqual(losses)
})

it('are refused by the field for what is not there, or describes another adapter', async () => {
  await close()
  await start({ apiKeys: { alice: 'sk-a', bob: 'sk-b' } })
  client = clientOf('sk-a')
  const tuned = (await trained(model, examples, method('supervised', { rank: 2 }, 1))).fine_tuned_model!
  const training_file = await upload(examples)
  const refused = async (body: object, by = client) => {
    const error = await by.fineTuning.jobs
      .create({ model: tuned, training_file, ...body })
      .catch((error: unknown) => error)
    const { status, param } = error as { status: number; param: string }
    return [status, param]
  }
  expect(await refused({ method: method('supervised', { rank: 4 }) })).toEqual([400, 'method.supervised.mora.rank'])
  expect(await refused({ model: `${tuned}:ckpt-step-9` })).toEqual([404, 'model'])
  expect(await refused({ model: 'ft:other' })).toEqual([404, 'model'])
  const bob = clientOf('sk-b')
  expect(await refused({ training_file: await upload(examples, bob) }, bob)).toEqual([404, 'model'])
  const grader = { type: 'string_check', operation: 'eq', name: 'a', input: 'a', reference: 'a' }
  const reinforcement = { type: 'reinforcement', reinforcement: { grader, mora: { beta: 0.1 } } }
  const questions = await upload([{ messages: asked }])
  expect(await refused({ method: reinforcement, training_file: questions })).toEqual([
    400,
    'method.reinforcement.mora.beta',
  ])
  await client.models.delete(tuned)
  expect(await refused({})).toEqual([404, 'model'])
})
