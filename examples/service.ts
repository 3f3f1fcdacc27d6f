/**
 * A service that trains: it reports progress as server-sent events, generates meanwhile, cancels runs and resumes them.
 *
 *     node examples/service.ts [model] [folder] [port]            (Node 22.18 or newer; before: npx tsx examples/service.ts)
 */
import { join } from 'node:path'
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { type SSEMessage, streamSSE } from 'hono/streaming'
import { generate, loadModel, MoraError, mora, type Run, RunError, train } from 'node-mora'
import { z } from 'zod'

const [path = 'assets/demo-model', folder = 'out/runs', port = '8080'] = process.argv.slice(2)
const model = await loadModel(path, { device: 'cpu', dtype: 'float32', threads: 1 })

const jobs = new Map<string, { run: Run; ended: Promise<unknown>; sent: SSEMessage[]; waiting: (() => void)[] }>()
const RunBody = z.object({ rows: z.array(z.record(z.string(), z.unknown())), maxSteps: z.int().positive() })
const PromptBody = z.object({ prompt: z.string(), adapters: z.array(z.string()).default([]) })
const app = new Hono()

app.put('/runs/:name{[a-z0-9-]+}', async (c) => {
  const name = c.req.param('name')
  const { rows, maxSteps } = RunBody.parse(await c.req.json())
  const sent: SSEMessage[] = []
  const waiting: (() => void)[] = []
  const send = (event: string, value: unknown) => {
    sent.push({ id: String(sent.length), event, data: JSON.stringify(value) })
    for (const wake of waiting.splice(0)) wake()
  }
  if (!model.adapters.has(name)) await model.addAdapter(name, mora({ rank: 2 }))
  model.setActiveAdapters([name]) // throws `in-training` during another run
  const options = { data: rows, maxSteps, output: join(folder, name), resume: true }
  const run = train(model, { ...options, onEvent: (event) => send(event.type, event) })
  await run.started // throws what is wrong with the rows, or why the run cannot be resumed with them
  const ended = run.finished.catch((error: unknown) => send('failed', String(error)))
  jobs.set(name, { run, ended, sent, waiting })
  return c.json({ name }, 202)
})

app.get('/runs/:name/events', (c) => {
  const job = jobs.get(c.req.param('name'))
  if (!job) return c.notFound()
  return streamSSE(c, async (stream) => {
    for (let next = Number(c.req.header('Last-Event-ID') ?? -1) + 1; !stream.aborted; next++) {
      if (next === job.sent.length) await Promise.race([job.ended, new Promise<void>((wake) => job.waiting.push(wake))])
      const message = job.sent[next]
      if (!message) return // the run has ended
      await stream.writeSSE(message)
    }
  })
})

app.delete('/runs/:name', async (c) => {
  const job = jobs.get(c.req.param('name'))
  return job ? c.json(await job.run.stop()) : c.notFound()
})

app.post('/generate', async (c) => {
  const body = PromptBody.parse(await c.req.json())
  return c.json(await generate(model, { ...body, maxNewTokens: 64, signal: c.req.raw.signal }))
})

app.onError((error, c) => {
  if (error instanceof z.ZodError || error instanceof SyntaxError) return c.json({ error: error.message }, 400)
  if (error instanceof MoraError && !(error instanceof RunError)) {
    return c.json({ code: error.code, error: error.message }, error.code === 'in-training' ? 409 : 400)
  }
  console.error(error)
  return c.json({ error: 'An internal error.' }, 500)
})

const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: Number(port) }, console.log)
process.once('SIGTERM', async () => {
  server.close()
  await model[Symbol.asyncDispose]() // ends a run after its step, and waits until everything is saved
})
