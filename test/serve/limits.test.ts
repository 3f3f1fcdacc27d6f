/** What a server refuses, bounds and frees. */
import { request as httpRequest } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import type { Model } from '../../lib/models/index.js'
import { ApiError } from '../../lib/serve/api-error.js'
import type { ServeOptions } from '../../lib/serve/index.js'
import { liveBytes } from '../live-bytes.js'
import { hold, IDLE, MAX_POSITIONS, script, startServer, tinyModel, watchTexts } from './tiny-server.js'

type Started = Awaited<ReturnType<typeof startServer>>

let model: Model
let started: Started
let bytes: number
const asked = watchTexts()
beforeAll(async () => {
  model = await tinyModel()
  // What the model keeps from its first pass on.
  await start()
  await started.post(CHAT, chatOf(2))
  await started.close()
  bytes = liveBytes(model.device)
})
afterEach(async () => {
  await started.close()
  expect(await started.load()).toEqual(IDLE)
  expect(liveBytes(model.device)).toBe(bytes)
  expect(started.errors).toEqual([])
})
afterAll(() => model.dispose())

const messages = [{ role: 'user', content: 'Hi' }]
const CHAT = '/v1/chat/completions'

async function start(options: ServeOptions = {}): Promise<Started> {
  started = await startServer(model, options)
  return started
}

/** A body of a chat whose text has so many tokens. */
const chatOf = (tokens: number) => ({
  messages,
  max_tokens: tokens,
  logit_bias: { [model.tokenizer!.eosId!]: -100 },
})

/** Keeps the engine between two steps, until the returned function is called. */
async function holdTexts({ post }: Started): Promise<() => void> {
  expect((await post('/v1/completions', { prompt: [1], max_tokens: 1 })).status).toBe(200)
  return hold()
}
const sequences = async () => (await started.load()).sequences

/** The status of an answer, its error and its headers. */
async function refused(answer: Promise<Response>) {
  const response = await answer
  const { error } = (await response.json()) as { error: { message: string; code: string; param: string | null } }
  expect(error.message).toMatch(/^[A-Z].*\.$/)
  return { status: response.status, ...error, headers: response.headers }
}

describe('keys', () => {
  it('are needed everywhere but for probes', async () => {
    const { origin, post } = await start({ apiKeys: ['one', 'two'] })
    const ask = (authorization?: string) => post(CHAT, chatOf(2), { headers: authorization ? { authorization } : {} })
    for (const given of [undefined, 'Bearer', 'Bearer three', 'Basic one', 'Bearer one two', 'one']) {
      const { status, code, headers } = await refused(ask(given))
      expect([status, code, headers.get('www-authenticate')]).toEqual([401, 'invalid_api_key', 'Bearer'])
    }
    for (const given of ['Bearer one', 'bearer two']) expect((await ask(given)).status).toBe(200)
    expect((await fetch(`${origin}/health`)).status).toBe(200)
    expect((await fetch(`${origin}/metrics`)).status).toBe(401)
    expect((await fetch(`${origin}/nowhere`)).status).toBe(401)
  })
})

describe('requests that do not fit the routes', () => {
  it('have a status and a sentence', async () => {
    const { origin, post } = await start({ maxBody: 1000 })
    const { status, headers } = await refused(fetch(`${origin}${CHAT}`))
    expect([status, headers.get('allow')]).toEqual([405, 'POST'])
    expect((await refused(fetch(`${origin}/health`, { method: 'POST' }))).status).toBe(405)
    expect((await refused(fetch(`${origin}/v1/nothing`))).status).toBe(404)
    expect((await refused(fetch(`${origin}/v1/models/nobody`))).status).toBe(404)
    expect((await refused(post(CHAT, '{}', { headers: { 'content-type': 'text/plain' } }))).status).toBe(415)
    expect((await refused(post(CHAT, '{"messages": [}'))).code).toBe('invalid_json')
    expect((await refused(post(CHAT, '[1]'))).status).toBe(400)
    expect((await refused(post(CHAT, '['.repeat(600) + ']'.repeat(300)))).status).toBe(400)
    expect((await refused(post(CHAT, JSON.stringify('x'.repeat(1000))))).status).toBe(413)
  })

  it('end before a body that has no length is read whole', async () => {
    const { origin } = await start({ maxBody: 1000 })
    const status = await new Promise((resolve, reject) => {
      const request = httpRequest(`${origin}${CHAT}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
      })
      request.on('response', ({ statusCode }) => resolve(statusCode))
      request.on('error', reject)
      request.write('x'.repeat(2000)) // and never ends
    })
    expect(status).toBe(413)
  })

  it('from other pages of a browser are refused without a key', async () => {
    const { origin } = await start()
    const { port, hostname } = new URL(origin)
    const ask = (host: string, more: { origin?: string } = {}) =>
      new Promise((resolve, reject) => {
        const headers = { host, ...more }
        const request = httpRequest({ hostname, port, path: '/v1/models', headers }, ({ statusCode }) =>
          resolve(statusCode),
        )
        request.on('error', reject).end()
      })
    expect(await ask('evil.example')).toBe(403)
    expect(await ask(`localhost:${port}`)).toBe(200)
    for (const other of ['https://evil.example', 'null', `http://localhost:1`])
      expect(await ask(`localhost:${port}`, { origin: other }), other).toBe(403)
    expect(await ask(`localhost:${port}`, { origin: `http://localhost:${port}` })).toBe(200)
  })
})

describe('many requests', () => {
  it('wait up to a number, then get 429 and when to come again', async () => {
    const { post } = await start({ maxBatch: 1, maxQueue: 2 })
    const release = await holdTexts(started)
    const first = [post(CHAT, { ...chatOf(2), n: 2 }), post(CHAT, chatOf(2))]
    await expect.poll(sequences).toBe(3)
    const { status, code, headers } = await refused(post(CHAT, { messages }))
    expect([status, code]).toEqual([429, 'rate_limit_exceeded'])
    expect(Number(headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    const tooMany = await refused(post(CHAT, { messages, n: 4 }))
    expect([tooMany.status, tooMany.code]).toEqual([400, 'too_many_texts'])
    release()
    for (const answer of first) expect((await answer).status).toBe(200)
    expect((await post(CHAT, chatOf(2))).status).toBe(200)
  })

  it('that take too long end, streamed or not', async () => {
    const { post } = await start({ timeout: 1 })
    const release = await holdTexts(started)
    const whole = refused(post(CHAT, { messages }))
    await expect.poll(sequences).toBe(1)
    script(
      () => [{ text: 'a' }, { text: 'b' }],
      (index) => sleep(index * 1200),
    )
    const streamed = await (await post(CHAT, { messages, stream: true })).text()
    expect(streamed).toMatch(/"error":\{"message":"The request took more than 1 seconds\."/)
    expect(streamed).not.toContain('[DONE]')
    const { status, code, headers } = await whole
    expect([status, code, headers.get('x-should-retry')]).toEqual([503, 'timeout', 'false'])
    release()
  })

  it('that nobody reads free their places once their texts are whole', async () => {
    const { server, post } = await start({ maxBatch: 2, maxQueue: 0 })
    const headers = { 'content-type': 'application/json' }
    const body = JSON.stringify({ ...chatOf(50), n: 2, stream: true, stream_options: { include_usage: true } })
    const unread = await server.fetch(new Request(`http://any${CHAT}`, { method: 'POST', headers, body }))
    await expect.poll(async () => (await post(CHAT, chatOf(2))).status).toBe(200)
    const events = (await unread.text()).trim().split('\n\n')
    expect(events.at(-1)).toBe('data: [DONE]')
    expect(JSON.parse(events.at(-2)!.slice(6))).toMatchObject({ usage: { completion_tokens: 100 } })
    expect(events.filter((event) => event.includes('"content":"')).length).toBeGreaterThan(50)
  })

  it('that nobody reads are as many as texts may be: the oldest ends', async () => {
    const { server, post } = await start({ maxBatch: 1, maxQueue: 1 })
    const headers = { 'content-type': 'application/json' }
    const body = JSON.stringify({ ...chatOf(50), stream: true })
    const unread: Response[] = []
    for (let i = 0; i < 3; i++) {
      unread.push(await server.fetch(new Request(`http://any${CHAT}`, { method: 'POST', headers, body })))
      await expect.poll(sequences).toBe(0)
    }
    const [first, ...others] = await Promise.all(unread.map((answer) => answer.text()))
    expect(first).toContain('"code":"unread"')
    for (const text of others) expect(text.trim()).toMatch(/data: \[DONE\]$/)
    expect((await post(CHAT, chatOf(2))).status).toBe(200)
  })

  it('that leave end nothing that others have not read yet', async () => {
    const { server } = await start({ maxBatch: 1, maxQueue: 0 })
    const headers = { 'content-type': 'application/json' }
    const ask = (stream: boolean, signal?: AbortSignal) =>
      server.fetch(
        new Request(`http://any${CHAT}`, {
          method: 'POST',
          headers,
          body: JSON.stringify({ ...chatOf(5), stream }),
          signal: signal ?? null,
        }),
      )
    const unread = await ask(true)
    await expect.poll(sequences).toBe(0)
    const release = hold()
    const leaver = new AbortController()
    const left = ask(false, leaver.signal)
    await expect.poll(sequences).toBe(1)
    leaver.abort()
    release()
    expect((await left).status).toBe(499)
    expect((await unread.text()).trim()).toMatch(/data: \[DONE\]$/)
  })

  it('that nobody reads end with an error all the same', async () => {
    const { server } = await start()
    let failed = 0
    script(
      () => Array.from({ length: 50 }, () => ({ text: 'x' })),
      async (index) => {
        if (index < 2) return
        failed++
        throw new ApiError(503, 'Too little memory.')
      },
    )
    const headers = { 'content-type': 'application/json' }
    const body = JSON.stringify({ messages, n: 2, stream: true })
    const unread = await server.fetch(new Request(`http://any${CHAT}`, { method: 'POST', headers, body }))
    await expect.poll(() => failed).toBeGreaterThan(0)
    const events = (await unread.text()).trim().split('\n\n')
    expect(events.at(-1)).toContain('"error":{"message":"Too little memory."')
  })

  it('of many texts listen to one signal without a warning', async () => {
    const { post } = await start({ maxBatch: 1000 })
    const warnings: Error[] = []
    const onWarning = (warning: Error) => void warnings.push(warning)
    process.on('warning', onWarning)
    const request = { prompt: Array(100).fill([1]), max_tokens: 2 }
    const { choices } = (await (await post('/v1/completions', request)).json()) as {
      choices: unknown[]
    }
    expect(choices).toHaveLength(100)
    process.off('warning', onWarning)
    expect(warnings).toEqual([])
  })

  it('whose client has left are no failures of the server', async () => {
    const { server } = await start()
    const headers = { 'content-type': 'application/json' }
    const ask = { method: 'POST', headers, body: '{"prompt": "Hi"}' }
    for (const path of ['/tokenize', '/v1/completions']) {
      const signal = AbortSignal.abort('The connection was closed.')
      expect((await server.fetch(new Request(`http://any${path}`, { ...ask, signal }))).status).toBe(499)
    }
  })

  it('that leave at random moments free everything', async () => {
    const { post } = await start({ maxBatch: 64, maxQueue: 10_000 })
    const random = randomStream(1, 'leaving')
    const present = new Set<AbortController>()
    let left = 0
    const rounds = process.env.MORA_TEST_LONG ? 25 : 8
    const visit = async (index: number) => {
      const leaving = new AbortController()
      present.add(leaving)
      const path = index % 2 ? CHAT : '/v1/completions'
      const body = { ...chatOf(20), prompt: 'a', n: 1 + (index % 3), stream: index % 4 < 2 }
      const answer = post(path, body, { signal: leaving.signal }).then((response) => response.text())
      await answer.catch(() => left++)
      present.delete(leaving)
    }
    const before = asked.mock.calls.length
    for (let round = 0; round < rounds; round++) {
      const visits = Promise.all(Array.from({ length: 40 }, (_, i) => visit(40 * round + i)))
      while (present.size > 0) {
        if (random.uniform() < 0.5) [...present][Math.floor(random.uniform() * present.size)]?.abort()
        await sleep(1)
      }
      await visits
    }
    expect(left).toBeGreaterThan(6 * rounds)
    expect(asked.mock.calls.length - before).toBeGreaterThan(37 * rounds)
    await expect.poll(() => started.load()).toEqual(IDLE)
  })
})

describe('the end', () => {
  it('waits for what runs, and refuses more', async () => {
    const { post, close, origin } = await start()
    const release = await holdTexts(started)
    const running = post(CHAT, { ...chatOf(2), stream: true })
    await expect.poll(sequences).toBe(1)
    const closed = close()
    const { status, code, headers } = await refused(post(CHAT, { messages }))
    expect([status, code, headers.get('retry-after')]).toEqual([503, 'closing', '5'])
    expect((await fetch(`${origin}/health`)).status).toBe(503)
    release()
    expect(await (await running).text()).toMatch(/\[DONE\]\n\n$/)
    await closed
    await expect(fetch(`${origin}/health`)).rejects.toThrow()
  })

  it('comes after the grace all the same', async () => {
    const { post, close } = await start({ grace: 0 })
    let written = 0
    script(
      () => Array.from({ length: 200 }, () => ({ text: 'x' })),
      (index) => sleep(index === 0 ? 0 : 50).finally(() => written++),
    )
    const running = [post(CHAT, { messages, stream: true }), post(CHAT, { messages })]
    await expect.poll(() => written).toBeGreaterThan(1)
    await close()
    expect(await (await running[0]!).text()).toMatch(/"error":\{"message":"The server is ending\."/)
    expect((await running[1]!).status).toBe(503)
  })
})

it('counts what it does', async () => {
  const { origin, post } = await start()
  await post(CHAT, chatOf(2))
  await post(CHAT, { messages: [] })
  const text = await (await fetch(`${origin}/metrics`)).text()
  const value = (name: string) => Number(new RegExp(`^mora_${name} (.*)$`, 'm').exec(text)?.[1])
  expect(value('answers_total\\{route="/v1/chat/completions",status="200"\\}')).toBe(1)
  expect(value('answers_total\\{route="/v1/chat/completions",status="400"\\}')).toBe(1)
  expect(value('new_tokens_total')).toBe(2)
  expect(value('answer_seconds_bucket\\{le="\\+Inf"\\}')).toBe(1)
  expect(value('pages_free')).toBe((8 * MAX_POSITIONS) / 64)
  expect(value('sequences_running')).toBe(0)
  for (const line of text.trim().split('\n'))
    expect(line).toMatch(/^(# (HELP|TYPE) mora_\w+ .+|mora_\w+(\{[^}]*\})? [\d.e+-]+)$/)
})

it('tokenises as the model reads', async () => {
  const { post } = await start()
  const ask = async (body: object) => (await post('/tokenize', body)).json()
  const tokenizer = model.tokenizer!
  const ids = await tokenizer.encodeText('Hi')
  const strings = ids.map((id) => tokenizer.tokenOf(id))
  const whole = { count: ids.length, tokens: ids, max_model_len: MAX_POSITIONS }
  expect(await ask({ prompt: 'Hi', return_token_strs: true })).toEqual({ ...whole, token_strs: strings })
  expect(await ask({ prompt: 'Hi', add_special_tokens: false })).toMatchObject({ tokens: await tokenizer.encode('Hi') })
  const rendered = await tokenizer.renderChat(messages, { addGenerationPrompt: true })
  expect(await ask({ messages })).toMatchObject({ tokens: await tokenizer.encode(rendered) })
  expect((await refused(post('/tokenize', {}))).param).toBe('prompt')
})

it('is a handler of any framework, under any path, which asks nothing of this', async () => {
  const { server } = await start({ basePath: '/llm' })
  const { fetch: handler } = server
  const headers = { 'content-type': 'application/json' }
  const body = JSON.stringify(chatOf(2))
  const answer = await handler(new Request(`http://any/llm${CHAT}`, { method: 'POST', headers, body }))
  expect(await answer.json()).toMatchObject({ choices: [{ message: { content: expect.any(String) } }] })
  expect((await handler(new Request(`http://any${CHAT}`, { method: 'POST', headers, body }))).status).toBe(404)
})
