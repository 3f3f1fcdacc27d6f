/** Servers with many queued jobs that are killed at random times. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import OpenAI, { toFile } from 'openai'
import { expect } from 'vitest'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { randomStream } from '../../lib/common/random.js'
import { main } from '../faults/command.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, lacksLong, needing } from '../needs.js'

const JOBS = 200
const KILLS = 30
const FINAL = ['succeeded', 'failed', 'cancelled']

const folder = useTemporaryFolder()
const random = randomStream(7, 'kills')
const below = (end: number) => Math.floor(random.uniform() * end)

async function startServer() {
  const argv = [main, 'serve', '--model', DEMO_MODEL, '--name', 'demo', '--port', '0', '--jobs', folder(), '--json']
  const server = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(createInterface(server.stdout), 'line')) as [string]
  const { url } = JSON.parse(line) as { url: string }
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 })
  const end = async (signal: NodeJS.Signals) => {
    server.kill(signal)
    if (server.exitCode === null && server.signalCode === null) await once(server, 'exit')
  }
  return { client, end }
}

async function jobsOf(client: OpenAI) {
  const jobs: OpenAI.FineTuning.FineTuningJob[] = []
  for await (const job of client.fineTuning.jobs.list({ limit: 100 })) jobs.push(job)
  return jobs
}

needing(lacksBuild, lacksLong).test(
  'all jobs end in a defined state, whenever the server is killed',
  async () => {
    let { client, end } = await startServer()
    const rows = Array.from({ length: 6 }, (_, i) => `${JSON.stringify({ prompt: `${i}`, completion: `${i + 1}` })}\n`)
    const file = await client.files.create({
      file: await toFile(Buffer.from(rows.join('')), 'a.jsonl'),
      purpose: 'fine-tune',
    })
    const created = new Set<string>()
    const cancelled = new Set<string>()
    const create = async () => {
      const n_epochs = 1 + below(3)
      const method = { type: 'supervised' as const, supervised: { hyperparameters: { n_epochs, batch_size: 2 } } }
      created.add((await client.fineTuning.jobs.create({ model: 'demo', training_file: file.id, method })).id)
    }
    const change = async (verb: 'cancel' | 'pause' | 'resume') => {
      const id = [...created][below(created.size)]!
      const { status } = await client.fineTuning.jobs[verb](id)
      if (status === 'cancelled') cancelled.add(id)
    }
    /** Asks for this and that until the server is killed under a request, or beside one. */
    const ask = async () => {
      const verbs = ['cancel', 'pause', 'pause', 'resume', 'resume'] as const
      while (created.size < JOBS || below(4) > 0) {
        const asked = created.size < JOBS && below(3) > 0 ? create() : change(verbs[below(verbs.length)]!)
        const error = await asked.then(
          () => null,
          (error: unknown) => error,
        )
        if (error instanceof OpenAI.APIConnectionError) return
        if (error !== null) expect(error).toMatchObject({ status: 400, code: 'job-ended' })
      }
    }
    await create()
    for (let kill = 0; kill < KILLS; kill++) {
      const asking = ask()
      await delay(below(1500))
      await end('SIGKILL')
      await asking
      ;({ client, end } = await startServer())
      const jobs = await jobsOf(client)
      // What a client was told has happened.
      const ids = new Set(jobs.map(({ id }) => id))
      expect([...created].filter((id) => !ids.has(id))).toEqual([])
      for (const { id, status } of jobs) if (cancelled.has(id)) expect(status).toBe('cancelled')
    }
    while (created.size < JOBS) await create()
    for (;;) {
      const open = (await jobsOf(client)).filter(({ status }) => !FINAL.includes(status))
      for (const { id, status } of open) if (String(status) === 'paused') await client.fineTuning.jobs.resume(id)
      if (open.length === 0) break
      await delay(500)
    }
    const names = new Set((await client.models.list()).data.map(({ id }) => id))
    for (const job of await jobsOf(client)) {
      expect(job.error).toBeNull()
      expect(['succeeded', 'cancelled']).toContain(job.status)
      if (job.status === 'cancelled') continue
      expect(names).toContain(job.fine_tuned_model)
      const steps = (await (await client.files.content(job.result_files[0]!)).text()).trimEnd().split('\n').slice(1)
      const { n_epochs } = job.hyperparameters
      expect(steps.map((line) => Number(line.split(',')[0]))).toEqual(
        Array.from({ length: 3 * (n_epochs as number) }, (_, i) => i + 1),
      )
    }
    await end('SIGTERM')
    for (const kind of ['files', 'jobs'])
      expect(readdirSync(join(folder(), kind)).filter((name) => name.startsWith('.'))).toEqual([])
    expect(existsSync(join(folder(), '.lock'))).toBe(false)
  },
  1_200_000,
)
