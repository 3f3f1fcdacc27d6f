/** The service of docs/guides/service.md, as its clients see it: it trains, streams, generates, cancels and resumes. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect } from 'vitest'
import { DEMO_MODEL } from '../../lib/cli/demo.js'
import { placeExample, startExample } from '../example-process.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { lacksBuild, needing } from '../needs.js'
import { lacksDraw } from './drawn-guide.js'

const facts = readFileSync(join(import.meta.dirname, '../../examples/facts.jsonl'), 'utf8')
  .trim()
  .split('\n')
const rows = facts.map((line) => JSON.parse(line) as object)
const STEPS = 120
const folder = useTemporaryFolder()
let module: string
let service: { url: string; child: ChildProcess; ended: Promise<unknown[]> }

async function start(): Promise<typeof service> {
  const child = startExample(module, [DEMO_MODEL, join(folder(), 'runs'), '0'])
  let said = ''
  child.stderr!.on('data', (text) => (said += text))
  const ended = once(child, 'exit')
  const [text] = await Promise.race([
    once(child.stdout!, 'data'),
    ended.then(([code]) => expect.fail(`the service ended with ${code}: ${said}`)),
  ])
  return { url: `http://127.0.0.1:${/port: (\d+)/.exec(String(text))![1]}`, child, ended }
}

/** Ends the service as a platform does, and expects it to end well. */
async function stop(): Promise<void> {
  service.child.kill('SIGTERM')
  expect(await service.ended).toEqual([0, null])
}

async function call(method: string, path: string, body?: object) {
  const response = await fetch(`${service.url}${path}`, { method, ...(body && { body: JSON.stringify(body) }) })
  return { status: response.status, answer: (await response.json()) as Record<string, unknown> }
}

interface Told {
  id: number
  event: string
  data: { step: number; loss: number; stopped: boolean }
}

/** Yields the events of a run until it ends. */
async function* follow(name: string, headers: Record<string, string> = {}): AsyncGenerator<Told> {
  const response = await fetch(`${service.url}/runs/${name}/events`, { headers })
  expect(response.headers.get('content-type')).toBe('text/event-stream')
  let rest = ''
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + piece).split('\n\n')
    rest = parts.pop()!
    for (const part of parts) {
      const { id, event, data } = Object.fromEntries(part.split('\n').map((line) => line.split(/: (.*)/s, 2)))
      yield { id: Number(id), event, data: JSON.parse(data) }
    }
  }
}

async function all(events: AsyncIterable<Told>): Promise<Told[]> {
  const told: Told[] = []
  for await (const one of events) told.push(one)
  return told
}

const stepsOf = (told: readonly Told[]) =>
  told.flatMap(({ event, data: { step, loss } }) => (event === 'step' ? [[step, loss]] : []))

beforeEach(async () => {
  module = placeExample(folder(), 'service')
  service = await start()
})
afterEach(stop)

needing(lacksDraw('service'), lacksBuild).test(
  'a run that is cancelled, and whose service restarts, has the losses of an undisturbed one',
  async () => {
    expect(await call('PUT', '/runs/calm', { rows, maxSteps: STEPS })).toEqual({
      status: 202,
      answer: { name: 'calm' },
    })
    const calm = await all(follow('calm'))
    expect(calm.at(-1)).toMatchObject({ event: 'end', data: { stopped: false } })
    const losses = stepsOf(calm)
    expect(losses).toHaveLength(STEPS)

    await call('PUT', '/runs/other', { rows, maxSteps: STEPS })
    const before: Told[] = []
    for await (const told of follow('other')) {
      before.push(told)
      if (told.event !== 'step' || told.data.step !== 3) continue
      const prompt = JSON.parse(facts[0]!).prompt as string
      // The base, what the run has learnt so far, and what the other one has: while the run goes on.
      const texts = await Promise.all(
        [[], ['other'], ['calm']].map((adapters) => call('POST', '/generate', { prompt, adapters })),
      )
      for (const { status, answer } of texts) expect([status, typeof answer.text]).toEqual([200, 'string'])
      expect(texts[2]!.answer.text).not.toBe(texts[0]!.answer.text)
      expect(await call('PUT', '/runs/third', { rows, maxSteps: 1 })).toMatchObject({
        status: 409,
        answer: { code: 'in-training' },
      })
      expect(await call('DELETE', '/runs/other')).toMatchObject({ status: 200, answer: { stopped: true } })
    }
    const cancelled = stepsOf(before)
    expect(before.at(-1)!.event).toBe('end')
    expect(cancelled.length).toBeLessThan(STEPS - 5)

    await call('PUT', '/runs/other', { rows, maxSteps: STEPS })
    const between: Told[] = []
    for await (const told of follow('other')) {
      between.push(told)
      if (told.event === 'step' && stepsOf(between).length === 2) service.child.kill('SIGTERM')
    }
    expect(await service.ended).toEqual([0, null])
    service = await start()
    await call('PUT', '/runs/other', { rows, maxSteps: STEPS })
    const after = await all(follow('other'))
    expect(stepsOf(after).length).toBeGreaterThan(0)
    expect([...cancelled, ...stepsOf(between), ...stepsOf(after)]).toEqual(losses)

    // A client that was cut off goes on after the last message that it got.
    const again = await all(follow('other', { 'Last-Event-ID': String(after.at(-3)!.id) }))
    expect(again).toEqual(after.slice(-2))
  },
)

needing(lacksDraw('service'), lacksBuild).test('requests that do not fit are answered in words', async () => {
  const refused = async (...request: Parameters<typeof call>) => {
    const { status, answer } = await call(...request)
    return [status, answer.code, answer.error]
  }
  expect(await refused('PUT', '/runs/a', { rows: [{ colour: 'red' }], maxSteps: 1 })).toEqual([
    400,
    'malformed-row',
    expect.stringContaining('colour'),
  ])
  expect(await refused('PUT', '/runs/a', { rows })).toEqual([400, undefined, expect.stringContaining('maxSteps')])
  expect(await refused('POST', '/generate', { prompt: 'x', adapters: ['nobody'] })).toEqual([
    400,
    'unknown-adapter',
    expect.stringContaining('nobody'),
  ])
  await call('PUT', '/runs/a', { rows, maxSteps: 1 })
  await all(follow('a'))
  expect(await refused('PUT', '/runs/a', { rows: rows.slice(1), maxSteps: 1 })).toEqual([
    400,
    'changed-run',
    expect.stringContaining('data'),
  ])
  expect((await fetch(`${service.url}/runs/..%2Fa`, { method: 'PUT', body: '{}' })).status).toBe(404)
})
