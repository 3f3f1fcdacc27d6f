/** Batches of requests, by the `openai` package. */
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import promises from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import OpenAI, { toFile } from 'openai'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, onTestFinished, vi } from 'vitest'
import type { Model } from '../../lib/models/index.js'
import type { ServeOptions } from '../../lib/serve/index.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { hold, NAME as model, script, startServer, tinyModel, watchTexts } from './tiny-server.js'

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
  await server.close()
})
afterAll(() => tiny.dispose())

async function start(options: ServeOptions = {}) {
  server = await startServer(tiny, { jobs: { folder: folder() }, ...options })
  client = clientOf('none')
}
const clientOf = (apiKey: string) => new OpenAI({ baseURL: `${server.origin}/v1`, apiKey, maxRetries: 0 })

const CHAT = '/v1/chat/completions'
const line = (custom_id: string, body: object, url = CHAT) => ({ custom_id, method: 'POST', url, body })
const chat = (custom_id: string, more: object = {}) =>
  line(custom_id, { model, messages: [{ role: 'user', content: custom_id }], max_tokens: 8, temperature: 0, ...more })

async function upload(lines: readonly object[], by = client) {
  const text = lines.map((one) => `${JSON.stringify(one)}\n`).join('')
  return (await by.files.create({ file: await toFile(Buffer.from(text), 'batch.jsonl'), purpose: 'batch' })).id
}
const create = async (lines: readonly object[], more: object = {}, by = client) =>
  by.batches.create({ input_file_id: await upload(lines, by), endpoint: CHAT, completion_window: '24h', ...more })

async function ended(id: string, by = client) {
  for (;;) {
    const batch = await by.batches.retrieve(id)
    if (['completed', 'failed', 'cancelled', 'expired'].includes(batch.status)) return batch
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

interface Line {
  readonly id: string
  readonly custom_id: string
  readonly response: { readonly status_code: number; readonly request_id: string; readonly body: OpenAI.ChatCompletion }
  readonly error: null
}
async function linesOf(file: string | undefined): Promise<Line[]> {
  const text = await (await client.files.content(file!)).text()
  return text
    .trimEnd()
    .split('\n')
    .map((one) => JSON.parse(one) as Line)
}
const ids = (lines: readonly Line[]) => lines.map(({ custom_id }) => custom_id).sort()

it('give each request the answer that it has alone, and errors by themselves', async () => {
  const names = Array.from({ length: 12 }, (_, i) => `request ${i}`)
  const wrong = [
    chat('cold', { temperature: -1 }),
    chat('other', { model: 'gpt-5' }),
    chat('streamed', { stream: true }),
  ]
  const metadata = { team: 'a' }
  const expiry = { anchor: 'created_at' as const, seconds: 7200 }
  const made = await create([...names.map((name) => chat(name)), ...wrong], { metadata, output_expires_after: expiry })
  expect(made).toMatchObject({ object: 'batch', status: 'validating', endpoint: CHAT, metadata, errors: null })
  await client.files.delete(made.input_file_id)
  const batch = await ended(made.id)
  expect(batch).toMatchObject({ status: 'completed', request_counts: { total: 15, completed: 12, failed: 3 } })
  const answers = await linesOf(batch.output_file_id)
  expect(ids(answers)).toEqual([...names].sort())
  for (const { custom_id, response, error } of answers.slice(0, 3)) {
    const { choices } = await client.chat.completions.create(chat(custom_id).body as never)
    expect(response.body).toMatchObject({ object: 'chat.completion', model, choices })
    expect([response.status_code, error]).toEqual([200, null])
  }
  const errors = await linesOf(batch.error_file_id)
  const failures = errors.map(({ custom_id, response: { status_code, body } }) => {
    const { param } = (body as unknown as { error: { param: string } }).error
    return [custom_id, status_code, param]
  })
  expect(failures.sort()).toEqual([
    ['cold', 400, 'temperature'],
    ['other', 404, 'model'],
    ['streamed', 400, 'stream'],
  ])
  const file = await client.files.retrieve(batch.output_file_id!)
  expect(file).toMatchObject({ purpose: 'batch_output', filename: `${batch.id}_output.jsonl` })
  // It is written between the two.
  expect(Math.round((file.expires_at! - file.created_at) / 60)).toBe(120)
  expect(readdirSync(`${folder()}/batches/${batch.id}`)).toEqual(['record.json'])
})

it('take the routes of texts, embeddings and responses', async () => {
  const texts = line('text', { model, prompt: 'Hi', max_tokens: 2 }, '/v1/completions')
  const vectors = line('vectors', { model, input: ['a', 'b'] }, '/v1/embeddings')
  const responses = line('response', { model, input: 'Hi', max_output_tokens: 2, store: false }, '/v1/responses')
  for (const one of [texts, vectors, responses]) {
    const batch = await ended((await create([one], { endpoint: one.url })).id)
    expect(batch).toMatchObject({ status: 'completed', request_counts: { completed: 1 }, error_file_id: null })
  }
})

it('that are none are refused, or fail with the lines', async () => {
  const refused = async (more: object) => {
    const error = await create([chat('a')], more).catch((error: unknown) => error)
    const { status, param } = error as { status: number; param: string }
    return [status, param]
  }
  expect(await refused({ endpoint: '/v1/files' })).toEqual([400, 'endpoint'])
  expect(await refused({ completion_window: '1h' })).toEqual([400, 'completion_window'])
  expect(await refused({ input_file_id: 'file-none' })).toEqual([400, 'input_file_id'])
  expect(await refused({ priority: 1 })).toEqual([400, 'priority'])
  await expect(client.batches.retrieve('batch_none')).rejects.toMatchObject({ status: 404 })
  await expect(upload([{ custom_id: 'a' }])).rejects.toMatchObject({ status: 400 })
  const batch = await ended((await create([chat('a'), chat('a'), line('b', {}, '/v1/embeddings')])).id)
  expect(batch).toMatchObject({ status: 'failed', output_file_id: null, request_counts: { total: 0 } })
  expect(batch.errors!.data!.map(({ code, line }) => [code, line])).toEqual([
    ['duplicate_custom_id', 2],
    ['mismatched_url', 3],
  ])
  await expect(client.batches.cancel(batch.id)).rejects.toMatchObject({ status: 400, code: 'job-ended' })
})

it('continue after a restart, each request once', async () => {
  const names = Array.from({ length: 40 }, (_, i) => `n${i}`)
  const made = await create(names.map((name) => chat(name)))
  const done = async () => (await client.batches.retrieve(made.id)).request_counts!.completed
  await expect.poll(done, { interval: 2 }).toBeGreaterThan(3)
  await server.close()
  const written = `${folder()}/batches/${made.id}/output.jsonl`
  const before = readFileSync(written, 'utf8')
  expect(before.split('\n').length).toBeLessThan(41)
  // A killed process may leave a part of a line.
  appendFileSync(written, '{"id": "batch_req_1", "custom_id": "n39", "resp')
  await start()
  const batch = await ended(made.id)
  expect(batch).toMatchObject({ status: 'completed', request_counts: { total: 40, completed: 40, failed: 0 } })
  expect(ids(await linesOf(batch.output_file_id))).toEqual([...names].sort())
  expect((await (await client.files.content(batch.output_file_id!)).text()).startsWith(before)).toBe(true)
})

it('are cancelled with the answers so far, and leave places to clients', async () => {
  const stream = watchTexts()
  const made = await create(Array.from({ length: 30 }, (_, i) => chat(`n${i}`, { max_tokens: 64 })))
  const next = await create([chat('next')])
  await expect.poll(() => stream.mock.calls.length, { interval: 1 }).toBeGreaterThan(4)
  const release = hold()
  // Half of the eight places are the batch's, so that a client gets an answer.
  const asked = client.chat.completions.create({ model, messages: [{ role: 'user', content: 'Hi' }], max_tokens: 2 })
  const load = await server.load()
  expect(load.sequences).toBeLessThanOrEqual(5)
  const waiting = await create([chat('waiting')])
  expect(await client.batches.cancel(waiting.id)).toMatchObject({ status: 'cancelled' })
  expect(await client.batches.cancel(made.id)).toMatchObject({ status: 'cancelling' })
  release()
  expect((await asked).choices).toHaveLength(1)
  const batch = await ended(made.id)
  expect(batch).toMatchObject({ status: 'cancelled' })
  const { completed } = batch.request_counts!
  expect(completed).toBeLessThan(30)
  expect(batch.output_file_id ? await linesOf(batch.output_file_id) : []).toHaveLength(completed)
  expect(await ended(next.id)).toMatchObject({ status: 'completed' })
  const listed = await client.batches.list({ limit: 2 })
  expect(listed.data.map(({ id }) => id)).toEqual([waiting.id, next.id])
  expect((await listed.getNextPage()).data.map(({ id }) => id)).toEqual([made.id])
})

it('expire with the answers so far once their time is over, while they run or wait', async () => {
  const made = await create(Array.from({ length: 20 }, (_, i) => chat(`n${i}`, { max_tokens: 64 })))
  const waiting = await create([chat('a'), chat('b')], { completion_window: '2d' })
  expect(made).toMatchObject({ completion_window: '24h', expires_at: made.created_at + 24 * 3600, expired_at: null })
  expect(waiting.expires_at).toBe(waiting.created_at + 48 * 3600)
  const completed = async () => (await client.batches.retrieve(made.id)).request_counts!.completed
  await expect.poll(completed, { interval: 2 }).toBeGreaterThan(3)
  await server.close()
  const makeOlder = (id: string, hours: number, more = 0) => {
    const path = `${folder()}/batches/${id}/record.json`
    const record = JSON.parse(readFileSync(path, 'utf8')) as { createdAt: number }
    writeFileSync(path, JSON.stringify({ ...record, createdAt: Date.now() - 3_600_000 * hours + more }))
  }
  // The first has half a second left, in which no request ends.
  script(
    () => Array.from({ length: 64 }, () => ({ text: 'a' })),
    () => new Promise((resolve) => setTimeout(resolve, 20)),
  )
  makeOlder(made.id, 24, 500)
  makeOlder(waiting.id, 48)
  await start()
  const other = await ended(waiting.id)
  const batch = await ended(made.id)
  for (const [one, total] of [
    [batch, 20],
    [other, 2],
  ] as const) {
    expect(one).toMatchObject({ status: 'expired', expired_at: expect.any(Number), completed_at: null })
    const answers = one.output_file_id ? await linesOf(one.output_file_id) : []
    const errors = await linesOf(one.error_file_id)
    expect(one.request_counts).toEqual({ total, completed: answers.length, failed: errors.length })
    expect(new Set(ids([...answers, ...errors])).size).toBe(total)
    for (const { response, error } of errors) expect([response, error]).toMatchObject([null, { code: 'batch_expired' }])
  }
  expect(batch.request_counts!.completed).toBeGreaterThan(3)
  await expect(client.batches.cancel(batch.id)).rejects.toMatchObject({ status: 400, code: 'job-ended' })
})

it('that the server cannot go on with fail with the answers so far', async () => {
  const made = await create(Array.from({ length: 20 }, (_, i) => chat(`n${i}`)))
  const counts = async () => (await client.batches.retrieve(made.id)).request_counts!
  await expect.poll(async () => (await counts()).completed, { interval: 2 }).toBeGreaterThan(0)
  const append = vi.spyOn(promises, 'appendFile').mockRejectedValue(new Error('no space'))
  syncBuiltinESMExports()
  onTestFinished(() => {
    append.mockRestore()
    syncBuiltinESMExports()
  })
  const batch = await ended(made.id)
  expect(batch).toMatchObject({ status: 'failed', errors: { data: [{ code: 'internal_error' }] } })
  expect(await linesOf(batch.output_file_id)).toHaveLength(batch.request_counts!.completed)
  expect(String(server.errors.splice(0)[0])).toContain('no space')
})

it('of a named key are invisible to others', async () => {
  await server.close()
  await start({ apiKeys: { alice: 'sk-a', bob: 'sk-b' } })
  const [alice, bob] = [clientOf('sk-a'), clientOf('sk-b')]
  const { id } = await create([chat('a')], {}, alice)
  const batch = await ended(id, alice)
  await expect(bob.batches.retrieve(id)).rejects.toMatchObject({ status: 404 })
  await expect(bob.batches.cancel(id)).rejects.toMatchObject({ status: 404 })
  await expect(bob.files.content(batch.output_file_id!)).rejects.toMatchObject({ status: 404 })
  expect((await bob.batches.list()).data).toEqual([])
  expect((await alice.batches.list()).data).toHaveLength(1)
  await expect(create([chat('a')], { input_file_id: batch.input_file_id }, bob)).rejects.toMatchObject({ status: 400 })
})
