/** Files and fine-tuning jobs, by the `openai` package. */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import promises from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import OpenAI, { toFile } from 'openai'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { JobStore } from '../../lib/jobs/store.js'
import type { Model } from '../../lib/models/index.js'
import { type ServeOptions, serve } from '../../lib/serve/index.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { addRandomAdapter, NAME as model, startServer, tinyModel } from './tiny-server.js'

type Job = OpenAI.FineTuning.FineTuningJob

let tiny: Model
let server: Awaited<ReturnType<typeof startServer>>
let client: OpenAI
const folder = useTemporaryFolder()
beforeAll(async () => {
  tiny = await tinyModel()
})
beforeEach(() => start())
afterEach(async () => {
  await server.close()
  expect([...tiny.adapters.keys()].filter((name) => !name.startsWith('ft:'))).toEqual([])
  for (const name of tiny.adapters.keys()) tiny.removeAdapter(name)
})
afterAll(() => tiny.dispose())

async function start(options: ServeOptions = {}) {
  server = await startServer(tiny, { jobs: { folder: folder() }, ...options })
  client = clientOf('none')
}
const clientOf = (apiKey: string) => new OpenAI({ baseURL: `${server.origin}/v1`, apiKey, maxRetries: 0 })

const chat = (question: string, answer: string) => ({
  messages: [
    { role: 'user' as const, content: question },
    { role: 'assistant' as const, content: answer },
  ],
})
const linesOf = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('')
const rows = Array.from({ length: 6 }, (_, i) => chat(`Say ${i}`, `I say ${i}.`))

const upload = async (content: string, { by = client, purpose = 'fine-tune' as const, name = 'rows.jsonl' } = {}) =>
  by.files.create({ file: await toFile(Buffer.from(content), name), purpose })

/** A job of six steps. */
const hyperparameters = { n_epochs: 2, batch_size: 2 }
const supervised = (more: object = {}): OpenAI.FineTuning.JobCreateParams.Method => ({
  type: 'supervised',
  supervised: { hyperparameters, ...more },
})

async function ended(id: string, by = client): Promise<Job> {
  let job: Job
  do {
    job = await by.fineTuning.jobs.retrieve(id)
    await new Promise((resolve) => setTimeout(resolve, 20))
  } while (!['succeeded', 'failed', 'cancelled', 'paused'].includes(job.status))
  return job
}

async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const list: Item[] = []
  for await (const item of items) list.push(item)
  return list
}

const says = async (name: string, by = client) => {
  const asked = { model: name, messages: rows[0]!.messages.slice(0, 1), max_tokens: 8, temperature: 0 }
  return (await by.chat.completions.create(asked)).choices[0]!.message.content
}

describe('files', () => {
  it('are uploaded, listed by pages, read and deleted', async () => {
    const content = linesOf(rows)
    const first = await upload(content)
    expect(first).toMatchObject({ object: 'file', bytes: content.length, filename: 'rows.jsonl', purpose: 'fine-tune' })
    const requests = { custom_id: 'a', method: 'POST', url: '/v1/chat/completions', body: { model } }
    const batch = await upload(linesOf([requests]), { purpose: 'batch' as 'fine-tune', name: 'batch.jsonl' })
    expect(await client.files.retrieve(first.id)).toEqual(first)
    expect(await (await client.files.content(first.id)).text()).toBe(content)
    expect((await all(client.files.list({ limit: 1 }))).map(({ id }) => id).sort()).toEqual([batch.id, first.id].sort())
    expect(await all(client.files.list({ purpose: 'batch' }))).toEqual([batch])
    expect(await client.files.delete(first.id)).toEqual({ id: first.id, object: 'file', deleted: true })
    await expect(client.files.retrieve(first.id)).rejects.toMatchObject({ status: 404 })
    await expect(client.files.list({ after: first.id })).rejects.toMatchObject({ status: 400, param: 'after' })
  })

  it('are refused with the line and the reason', async () => {
    const refused = async (content: string) => {
      const error = await upload(content).catch((error: unknown) => error)
      expect(error).toMatchObject({ status: 400 })
      return (error as Error).message
    }
    expect(await refused('')).toContain('rows.jsonl has no rows')
    expect(await refused(`${linesOf(rows)}{"messages": [`)).toContain('rows.jsonl:7 is not valid JSON')
    expect(await refused('{"a": 1}\n')).toContain('rows.jsonl:1: no form of rows has the columns a')
    expect(await refused(linesOf([...rows, { messages: 'Hi' }]))).toContain('rows.jsonl:7: messages')
    expect(await refused(`${'['.repeat(5000)}${']'.repeat(5000)}`)).toContain('rows.jsonl:1')
    const failed = { traceId: 't', type: 'GENERATION', level: 'ERROR', input: 'Hi', output: null }
    expect(await refused(linesOf([failed]))).toContain('rows.jsonl: all rows are logged calls that failed')
    await expect(upload('{}', { purpose: 'vision' as 'fine-tune' })).rejects.toMatchObject({ param: 'purpose' })
    expect(readdirSync(`${folder()}/files`)).toEqual([])
    expect(server.errors).toEqual([])
  })

  it('come in forms that may be damaged', async () => {
    const send = (body: string, type = 'multipart/form-data; boundary=b') =>
      fetch(`${server.origin}/v1/files`, { method: 'POST', body, headers: { 'content-type': type } })
    const part = (name: string, content: string) =>
      `--b\r\nContent-Disposition: form-data; ${name}\r\n\r\n${content}\r\n`
    const file = part('name="file"; filename="../../a\\"b.jsonl"', linesOf(rows))
    const purpose = part('name="purpose"', 'fine-tune')
    const status = async (...given: Parameters<typeof send>) => (await send(...given)).status
    expect(await status('{}', 'application/json')).toBe(415)
    for (const body of ['', '--b', `${file}${purpose}`, `${file}--b\r\n\r\n--b--`, `--b\r\nname: x\r\n\r\n\r\n--b--`])
      expect(await status(body), body).toBe(400)
    expect(await status(`${purpose}--b--`)).toBe(400)
    expect(await status(`${file}${file}${purpose}--b--`)).toBe(400)
    expect(await status(`${file}${part('name="purpose"', 'x'.repeat(5000))}--b--`)).toBe(400)
    const whole = await send(`preamble\r\n${file}${purpose}--b--\r\nepilogue`)
    expect(await whole.json()).toMatchObject({ filename: 'a"b.jsonl', bytes: linesOf(rows).length })
  })

  it('that do not arrive whole, or find no space, leave nothing', async () => {
    const form = (end: string) => `--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n{}${end}`
    const leaving = new AbortController()
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(new TextEncoder().encode(form(''))),
      pull: () => delay(50).then(() => leaving.abort()),
    })
    const headers = { 'content-type': 'multipart/form-data; boundary=b' }
    const request = { method: 'POST', body, headers, signal: leaving.signal, duplex: 'half' } as RequestInit
    await expect(fetch(`${server.origin}/v1/files`, request)).rejects.toThrow('aborted')
    await expect.poll(() => readdirSync(`${folder()}/files`)).toEqual([])
    const claimed = { ...headers, 'content-length': String(2 ** 40) }
    const large = await server.server.fetch(
      new Request('http://any/v1/files', { method: 'POST', headers: claimed, body: form('') }),
    )
    expect(large.status).toBe(413)
    const statfs = vi.spyOn(promises, 'statfs').mockResolvedValue({ blocks: 1, bavail: 0, bsize: 1 } as never)
    syncBuiltinESMExports()
    onTestFinished(() => {
      statfs.mockRestore()
      syncBuiltinESMExports()
    })
    await expect(upload(linesOf(rows))).rejects.toMatchObject({
      status: 507,
      message: expect.not.stringContaining(folder()),
    })
    expect(server.errors).toEqual([])
  })
})

describe('jobs', () => {
  it('train an adapter that is served at once, and say how', async () => {
    const file = await upload(linesOf(rows))
    const validation = await upload(linesOf(rows.slice(0, 2)))
    const method = supervised({ mora: { method: 'lora', rank: 2, learning_rate: 0.05 } })
    const created = await client.fineTuning.jobs.create({
      model,
      training_file: file.id,
      validation_file: validation.id,
      method,
      suffix: 'my model',
      seed: 3,
      metadata: { team: 'a' },
    })
    expect(created).toMatchObject({ object: 'fine_tuning.job', model, fine_tuned_model: null, seed: 3, error: null })
    await client.files.delete(file.id)
    const job = await ended(created.id)
    const name = `ft:${model}:local:my-model:${job.id.slice(-8)}`
    expect(job).toMatchObject({ status: 'succeeded', fine_tuned_model: name, metadata: { team: 'a' } })
    expect(job.trained_tokens).toBeGreaterThan(0)
    expect(job.method).toMatchObject({ type: 'supervised', supervised: { mora: { method: 'lora', rank: 2 } } })
    expect(job.hyperparameters).toEqual({ n_epochs: 2, batch_size: 2, learning_rate_multiplier: 1 })
    expect([...tiny.adapters.keys()]).toEqual([])
    expect(await says(name)).not.toBe(await says(model))
    expect([...tiny.adapters.keys()]).toEqual([name])

    const checkpoints = await all(client.fineTuning.jobs.checkpoints.list(job.id, { limit: 1 }))
    expect(checkpoints.map(({ step_number }) => step_number)).toEqual([6, 3])
    expect(checkpoints[1]).toMatchObject({
      fine_tuned_model_checkpoint: `${name}:ckpt-step-3`,
      metrics: {
        step: 3,
        train_loss: expect.any(Number),
        train_mean_token_accuracy: expect.any(Number),
        full_valid_loss: expect.any(Number),
        full_valid_mean_token_accuracy: expect.any(Number),
      },
    })
    expect(await says(`${name}:ckpt-step-6`)).toBe(await says(name))

    const events = await all(client.fineTuning.jobs.listEvents(job.id, { limit: 2 }))
    const metrics = events.filter(({ type }) => type === 'metrics')
    expect(metrics.map(({ data }) => (data as { step: number }).step)).toEqual([6, 5, 4, 3, 2, 1])
    expect(metrics[0]).toMatchObject({ level: 'info', data: { total_steps: 6, valid_loss: expect.any(Number) } })
    expect(events.at(0)!.message).toBe('The job has successfully completed')
    const table = await (await client.files.content(job.result_files[0]!)).text()
    expect(table.split('\n')[0]).toBe('step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy')
    expect(table.trimEnd().split('\n')).toHaveLength(7)
    expect(await all(client.files.list({ purpose: 'fine-tune-results' }))).toHaveLength(1)
    expect((await all(client.fineTuning.jobs.list({ metadata: { team: 'b' } }))).length).toBe(0)
    expect((await all(client.fineTuning.jobs.list({ metadata: { team: 'a' } })))[0]).toEqual(job)

    // Another process serves what this one has trained, until the model is deleted.
    const said = await says(name)
    await server.close()
    for (const one of tiny.adapters.keys()) tiny.removeAdapter(one)
    await start()
    expect(await says(name)).toBe(said)
    await client.models.delete(`${name}:ckpt-step-3`)
    const names = async () => (await all(client.models.list())).map(({ id }) => id)
    expect(await names()).toEqual([model, name, `${name}:ckpt-step-6`])
    await client.models.delete(name)
    expect(await names()).toEqual([model])
    await expect(says(name)).rejects.toMatchObject({ status: 404 })
    expect([...tiny.adapters.keys()]).toEqual([])
    expect((await all(client.fineTuning.jobs.listEvents(job.id))).length).toBe(events.length)
    expect(server.errors).toEqual([])
  })

  const many = Array.from({ length: 30 }, (_, i) => rows[i % rows.length]!)
  /** A job of 30 steps. */
  const long = (training_file: string, more: object = {}) =>
    client.fineTuning.jobs.create({
      model,
      training_file,
      seed: 1,
      method: supervised({ mora: { rank: 2 } }),
      ...more,
    })
  const tookSteps = (id: string, least: number) =>
    expect
      .poll(
        async () => {
          const { data } = await client.fineTuning.jobs.listEvents(id)
          const metrics = data.find(({ type }) => type === 'metrics')?.data as { step: number } | undefined
          return metrics?.step ?? 0
        },
        { interval: 5, timeout: 60_000 },
      )
      .toBeGreaterThanOrEqual(least)
  const trained = (id: string) => readFileSync(`${folder()}/jobs/${id}/run/adapter_model.safetensors`)

  it('continue to the same bytes when they were paused, and after a restart', async () => {
    const { id: file } = await upload(linesOf(many))
    const straight = await long(file)
    const paused = await long(file)
    expect(paused.status).toBe('queued')
    expect(await ended(straight.id)).toMatchObject({ status: 'succeeded' })
    await tookSteps(paused.id, 2)
    expect(await client.fineTuning.jobs.pause(paused.id)).toMatchObject({ status: 'paused', fine_tuned_model: null })
    const third = await long(file)
    await tookSteps(third.id, 2)
    expect(await client.fineTuning.jobs.resume(paused.id)).toMatchObject({ status: 'queued' })
    await server.close()
    for (const one of tiny.adapters.keys()) tiny.removeAdapter(one)
    await start()
    for (const { id } of [paused, third]) {
      expect(await ended(id)).toMatchObject({ status: 'succeeded' })
      expect(trained(id).equals(trained(straight.id))).toBe(true)
      const steps = (await all(client.fineTuning.jobs.listEvents(id))).filter(({ type }) => type === 'metrics')
      expect(steps).toHaveLength(30)
    }
    expect(server.errors).toEqual([])
  })

  it('are cancelled while they wait and while they run, and others go on', async () => {
    const { id: file } = await upload(linesOf(many))
    const jobs = [await long(file), await long(file), await long(file, { method: supervised() })]
    const [running, waiting, last] = jobs.map(({ id }) => id) as [string, string, string]
    await tookSteps(running, 1)
    expect(await says(model)).toEqual(expect.any(String))
    for (const id of [waiting, running]) {
      expect(await client.fineTuning.jobs.cancel(id)).toMatchObject({ status: 'cancelled' })
      for (const again of ['cancel', 'pause', 'resume'] as const)
        await expect(client.fineTuning.jobs[again](id)).rejects.toMatchObject({ status: 400, code: 'job-ended' })
    }
    expect(await ended(last)).toMatchObject({ status: 'succeeded' })
    const states = (await all(client.fineTuning.jobs.list({ limit: 2 }))).map(({ status }) => status)
    expect(states).toEqual(['succeeded', 'cancelled', 'cancelled'])
    await expect(client.fineTuning.jobs.retrieve('ftjob-none')).rejects.toMatchObject({ status: 404 })
  })

  it('that cannot be trained are refused by the name of the field', async () => {
    const { id: training_file } = await upload(linesOf(rows))
    const refused = async (body: object) => {
      const asked = { model, training_file, ...body } as OpenAI.FineTuning.JobCreateParams
      const error = await client.fineTuning.jobs.create(asked).catch((error: unknown) => error)
      expect(error).toBeInstanceOf(OpenAI.APIError)
      const { status, param } = error as { status: number; param: string }
      return [status, param]
    }
    const tuned = (mora: object) => ({ method: supervised({ mora }) })
    expect(await refused({ training_file: 'file-none' })).toEqual([400, 'training_file'])
    expect(await refused({ model: 'gpt' })).toEqual([404, 'model'])
    expect(await refused({ method: { type: 'magic' } })).toEqual([400, 'method.type'])
    expect(await refused({ hyperparameters: { n_epochs: 0 } })).toEqual([400, 'hyperparameters.n_epochs'])
    expect(await refused(tuned({ rank: 'high' }))).toEqual([400, 'method.supervised.mora.rank'])
    expect(await refused(tuned({ method: 'full' }))).toEqual([400, 'method'])
    expect(await refused(tuned({ method: 'lora', operator: 'sharing' }))).toEqual([400, null])
    expect(await refused(tuned({ target_modules: '/(a+)+$/' }))).toEqual([400, 'method.supervised.mora.target_modules'])
    expect(await refused(tuned({ output: '/tmp' }))).toEqual([400, 'method.supervised.mora.output'])
    expect(await refused({ unknown: 1 })).toEqual([400, 'unknown'])
    expect(await refused({ metadata: { a: 'x'.repeat(600) } })).toEqual([400, 'metadata.a'])
    expect(await all(client.fineTuning.jobs.list())).toEqual([])
  })

  it('that do not fit the memory are refused before they are queued', async () => {
    const { id: training_file } = await upload(linesOf(rows))
    const facts = tiny.device.facts()
    const device = vi.spyOn(tiny.device, 'facts').mockReturnValue({ ...facts, totalMemory: 2 ** 20 })
    onTestFinished(() => device.mockRestore())
    const refused = await client.fineTuning.jobs.create({ model, training_file }).catch((error: unknown) => error)
    expect(refused).toMatchObject({
      status: 400,
      message: expect.stringMatching(
        /this model needs about .* This run needs up to \S+ MiB .* with gradient_checkpointing/,
      ),
    })
    expect(await all(client.fineTuning.jobs.list())).toEqual([])
  })

  it('fail with the row that cannot be trained', async () => {
    const { id: training_file } = await upload(linesOf([...rows, chat('x'.repeat(9), '')]))
    const ids = await upload(`{"input_ids": [1, 2]}\n{"input_ids": [1, 99999]}\n`)
    const job = await client.fineTuning.jobs.create({ model, training_file: ids.id })
    const { status, error } = await ended(job.id)
    expect([status, error?.param, error?.message]).toEqual([
      'failed',
      'training_file',
      expect.stringMatching(/^training.jsonl:2/),
    ])
    const next = await client.fineTuning.jobs.create({ model, training_file, method: supervised() })
    expect(await ended(next.id)).toMatchObject({ status: 'succeeded' })
  })

  it('send their numbers to Weights & Biases, whose failure is told', async () => {
    const calls: [string, object?][] = []
    const sdk = {
      init: async (settings: object) => calls.push(['init', settings]),
      log: (numbers: object) => {
        calls.push(['log', numbers])
        if (calls.length === 3) throw new Error('no connection')
      },
      finish: async () => calls.push(['finish']),
    }
    const { id: training_file } = await upload(linesOf(rows))
    const integrations = [{ type: 'wandb' as const, wandb: { project: 'sums', tags: ['a'], entity: null } }]
    const create = () => client.fineTuning.jobs.create({ model, training_file, integrations, method: supervised() })
    await expect(create()).rejects.toMatchObject({ status: 400, param: 'integrations' })
    vi.doMock('@wandb/sdk', () => ({ default: sdk }))
    onTestFinished(() => void vi.doUnmock('@wandb/sdk'))
    const job = await ended((await create()).id)
    expect(job).toMatchObject({ status: 'succeeded', integrations: [{ type: 'wandb', wandb: { project: 'sums' } }] })
    expect(calls).toMatchObject([
      ['init', { project: 'sums', name: job.id, tags: ['a'], config: { method: 'supervised', batch_size: 2 } }],
      ['log', { step: 1, train_loss: expect.any(Number) }],
      ['log', { step: 2 }],
    ])
    const events = await all(client.fineTuning.jobs.listEvents(job.id))
    expect(events.filter(({ level, message }) => level === 'warn' && message.endsWith('no connection'))).toHaveLength(1)
  })

  it('prefer answers by dpo', async () => {
    const text = (content: string) => [{ role: 'assistant', content }]
    const pairs = rows.map((row, i) => ({
      input: { messages: row.messages.slice(0, 1) },
      preferred_output: text(`Yes ${i}`),
      non_preferred_output: text(`No ${i}`),
    }))
    const { id: training_file } = await upload(linesOf(pairs))
    await expect(client.fineTuning.jobs.create({ model, training_file })).rejects.toMatchObject({
      param: 'training_file',
    })
    const method = { type: 'dpo' as const, dpo: { hyperparameters: { n_epochs: 5, batch_size: 6, beta: 0.2 } } }
    await addRandomAdapter(tiny, 'own', 1)
    tiny.setActiveAdapters(['own'])
    const job = await client.fineTuning.jobs.create({ model, training_file, method })
    expect(await ended(job.id)).toMatchObject({
      status: 'succeeded',
      method: { dpo: { hyperparameters: { beta: 0.2 } } },
    })
    // The last three checkpoints are served, and the program's adapter is what it was.
    const tuned = `ft:${model}:local::${job.id.slice(-8)}`
    const names = ['', ':ckpt-step-3', ':ckpt-step-4', ':ckpt-step-5'].map((end) => tuned + end)
    expect((await all(client.models.list())).map(({ id }) => id)).toEqual([model, ...names, 'own'])
    expect(tiny.adapterSet.activeNames()).toEqual(['own'])
    tiny.removeAdapter('own')
  })

  it('and files of a named key are invisible to others', async () => {
    await server.close()
    await start({ apiKeys: { alice: 'sk-a', bob: 'sk-b' } })
    const [alice, bob] = [clientOf('sk-a'), clientOf('sk-b')]
    const { id: training_file } = await upload(linesOf(rows), { by: alice })
    const { id } = await alice.fineTuning.jobs.create({ model, training_file, method: supervised() })
    const job = await ended(id, alice)
    expect(job.fine_tuned_model).toMatch(/^ft:org\/tiny:alice::/)
    await expect(bob.files.retrieve(training_file)).rejects.toMatchObject({ status: 404 })
    await expect(bob.fineTuning.jobs.retrieve(id)).rejects.toMatchObject({ status: 404 })
    await expect(bob.fineTuning.jobs.create({ model, training_file })).rejects.toMatchObject({ status: 400 })
    expect(await all(bob.fineTuning.jobs.list())).toEqual([])
    expect(await all(bob.files.list())).toEqual([])
    const name = job.fine_tuned_model!
    await expect(bob.models.delete(name)).rejects.toMatchObject({ status: 403 })
    expect((await all(alice.models.list())).map(({ id }) => id)).toEqual([
      model,
      name,
      `${name}:ckpt-step-3`,
      `${name}:ckpt-step-6`,
    ])
    expect((await all(bob.models.list())).map(({ id }) => id)).toEqual([model])
    for (const ask of [() => says(name, bob), () => bob.models.retrieve(name)])
      await expect(ask()).rejects.toMatchObject({
        status: 404,
        message: expect.stringMatching(/known are "org\/tiny"\.$/),
      })
    expect(await says(name, alice)).toEqual(expect.any(String))
    expect(await alice.models.delete(job.fine_tuned_model!)).toMatchObject({ deleted: true })
  })

  it('are of servers that have a folder, one server at a time', async () => {
    expect(() => serve(tiny, { jobs: { folder: folder() } })).toThrow('is being written by process')
    await server.close()
    server = await startServer(tiny)
    client = clientOf('none')
    await expect(client.fineTuning.jobs.list()).rejects.toMatchObject({ status: 404 })
  })

  it('go on elsewhere when their model is disposed of', async () => {
    const { id: file } = await upload(linesOf(many))
    await server.close()
    const other = await tinyModel()
    server = await startServer(other, { jobs: { folder: folder() } })
    client = clientOf('none')
    const [first, second] = [await long(file), await long(file)]
    await tookSteps(first.id, 1)
    await other[Symbol.asyncDispose]()
    await server.close()
    await start()
    for (const { id } of [first, second]) expect(await ended(id)).toMatchObject({ status: 'succeeded', error: null })
    expect(trained(first.id).equals(trained(second.id))).toBe(true)
    expect(server.errors).toEqual([])
  })

  it('wait for a server of the model that they train', async () => {
    const { id: training_file } = await upload(linesOf(rows))
    // No job begins while the program trains the model.
    const { hold } = tiny.holdForTraining()
    const { id } = await client.fineTuning.jobs.create({ model, training_file, method: supervised() })
    await client.fineTuning.jobs.pause(id)
    hold.end()
    await server.close()
    await start({ name: 'other' })
    const { status } = await client.fineTuning.jobs.resume(id)
    expect(status).toBe('queued')
    const { id: own } = await client.fineTuning.jobs.create({ model: 'other', training_file, method: supervised() })
    expect(await ended(own)).toMatchObject({ status: 'succeeded' })
    expect(await client.fineTuning.jobs.retrieve(id)).toMatchObject({ status: 'queued' })
    const { data } = await client.fineTuning.jobs.listEvents(id)
    expect(data.map(({ message }) => message)).toContain(`The job waits for a server of ${model}.`)
    await server.close()
    await start()
    expect(await ended(id)).toMatchObject({ status: 'succeeded' })
  })
})

it('tell messages that are read whether or not they are written yet', async () => {
  const store = new JobStore(join(folder(), 'store'), (error) => expect.fail(String(error)))
  const job = { id: 'ftjob-one' }
  mkdirSync(store.pathsOf(job).folder)
  const told = ['first', 'second'].map((message) => store.tell(job, 'info', message))
  expect((await store.messagesOf(job)).map(({ message }) => message)).toEqual(['first', 'second'])
  await Promise.all(told)
  await store.close()
})
