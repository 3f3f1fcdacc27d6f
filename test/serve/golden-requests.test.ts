/** What OpenAI's Python client sends, as it was recorded, is understood; and what it made of failures is what the server sends. */
import { readFileSync, rmSync } from 'node:fs'
import { afterAll, beforeAll, expect } from 'vitest'
import type { Model } from '../../lib/models/index.js'
import { ApiError } from '../../lib/serve/api-error.js'
import { assetPath, lacksAsset } from '../assets.js'
import { quickFolder } from '../io/temporary.js'
import { needing } from '../needs.js'
import { addRandomAdapter, script, startServer, tinyModel } from './tiny-server.js'

interface Recorded {
  requests: {
    name: string
    request: { method: string; path: string; body?: Record<string, unknown> }
    response: { body?: object; events?: unknown[] }
  }[]
  failures: { name: string; response?: { status?: number; body?: { error?: Record<string, unknown> } } }[]
}

const file = 'golden/sampling/requests.json'
const lacks = lacksAsset(file, 'recorded requests')
const { requests, failures }: Recorded =
  lacks === null ? JSON.parse(readFileSync(assetPath(file), 'utf8')) : { requests: [], failures: [] }

/** Requests that are refused, by the parameter that the answer names. */
const REFUSED: Readonly<Record<string, string>> = {
  'completion: suffix, best_of, every number': 'suffix',
}

let model: Model
let started: Awaited<ReturnType<typeof startServer>>
beforeAll(async () => {
  // The recorded request asks for embeddings of 4 numbers.
  model = await tinyModel({ hiddenSize: 4 })
  started = await startServer(model, { name: 'tiny', allowLoading: true })
  const folder = quickFolder()
  await addRandomAdapter(model, 'written', 1)
  await model.saveAdapter('written', folder)
  model.removeAdapter('written')
  for (const name of ['org/tiny', 'adapter-a']) await started.server.loadAdapter(name, folder)
  rmSync(folder, { recursive: true })
})
afterAll(async () => {
  await started.close()
  model.dispose()
})

/** The keys of an answer, with one entry of each list. */
function keysOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(keysOf)
  if (typeof value !== 'object' || value === null) return null
  return Object.fromEntries(Object.entries(value).map(([key, inside]) => [key, keysOf(inside)]))
}

const { describe, it } = needing(lacks)

describe('requests', () => {
  // Without the data there is no case, and this one says what is missing.
  it('were recorded', () => expect([requests, failures].every(({ length }) => length > 0)).toBe(true))

  it.each(requests.map((one) => [one.name, one] as const))('%s', async (name, { request, response: expected }) => {
    const spoken = JSON.stringify(expected)
    const isForced = !['auto', 'none', undefined].includes(request.body?.tool_choice as string)
    // What a model with random weights does not say of itself.
    if (spoken.includes('"tool_calls"') && !isForced)
      script(() => [{ toolCalls: [{ id: 'call_1', name: 'get_time', arguments: {}, argumentsText: '{}' }] }])
    // The log-probabilities of an echoed prompt are the model's own.
    else if (spoken.includes('reasoning_content') || (request.body?.logprobs && !request.body.echo))
      script(() => [{ text: 'Hi', reasoning: 'Hm.' }, { text: ' there' }])
    const response = await fetch(started.origin + request.path, {
      method: request.method,
      headers: { 'content-type': 'application/json', authorization: 'Bearer sk-test' },
      ...(request.body && { body: JSON.stringify(request.body) }),
    })
    const text = await response.text()
    if (name in REFUSED) {
      expect(response.status).toBe(400)
      expect(JSON.parse(text).error).toMatchObject({ code: 'unsupported_parameter', param: REFUSED[name] })
      return
    }
    expect(response.status, text).toBe(200)
    // Clients take floats too, which the server does not send where base64 was asked for.
    if (name === 'embeddings: floats, though base64 was asked') return
    if (expected.body) expect(keysOf(JSON.parse(text))).toMatchObject(keysOf(expected.body) as object)
    else expect(text.trim().split('\n\n').at(-1)).toBe(`data: ${expected.events!.at(-1)}`)
  })
})

describe('failures', () => {
  const spoken = failures.filter(({ response }) => (response?.status ?? 0) >= 400 && response!.body?.error?.message)

  it.each(spoken.map((one) => [one.name, one.response!] as const))('%s', (_, { status, body }) => {
    const { message, param, code } = body!.error!
    const facts = { ...(param !== null && { param: param as string }), ...(code !== null && { code: code as string }) }
    const error = new ApiError(status!, message as string, facts)
    expect(error.body).toEqual({ error: { message, type: expect.any(String), param, code } })
    expect(error.response.headers.get('content-type')).toBe('application/json')
  })
})
