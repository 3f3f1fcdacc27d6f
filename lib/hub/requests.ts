/** Sends requests. Follows redirects itself, so that only the hub gets the token; silence counts as a lost connection. */
import { InputError, RunError } from '../common/errors.js'
import { packageVersion } from '../common/package-info.js'
import { keepSecret } from '../common/printable.js'
import { nameOf, refusal, type Subject } from './refusals.js'
import { PassingFailure } from './retry.js'
import type { HubSettings } from './settings.js'

const MOST_REDIRECTS = 5
const REDIRECTS = new Set([301, 302, 303, 307, 308])
/** The reason given for a silent connection. */
export const SILENT = 'no answer'
/** Maximum number of bytes of an answer that is read as a whole; a listing of a hundred thousand files needs less. */
const LONGEST = 2 ** 26
/** Error codes of connections that were never made. */
export const NOBODY = new Set([
  SILENT,
  'ENOTFOUND',
  'EAI_AGAIN',
  'ECONNREFUSED',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
])

/** Returns the User-Agent header. */
export const userAgent = (): string => `node-mora/${packageVersion()}; node/${process.version}`

interface RequestOptions {
  /** `HEAD` asks the hub about a file; `GET` follows redirects to the content. */
  method?: 'GET' | 'HEAD'
  /** First requested byte. */
  from?: number
  /** Ends the request with an error, also while its body is read; the signal has the reason. */
  signal?: AbortSignal
}

/** An answer whose body may still be arriving: read it, or `discard` it. */
interface Reply extends Pick<Response, 'status' | 'headers'> {
  body(): AsyncIterable<Uint8Array>
  discard(): Promise<void>
}

/**
 * Requests an address under the hub's endpoint.
 * @throws PassingFailure if another attempt may help; MoraError if the hub refuses
 */
export async function request(
  settings: HubSettings,
  url: string,
  subject: Subject,
  { method = 'GET', from = 0, signal }: RequestOptions = {},
): Promise<Reply> {
  const home = new URL(settings.endpoint).origin
  let address = new URL(url)
  for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
    const headers: Record<string, string> = { 'user-agent': userAgent() }
    // Sizes and hashes refer to uncompressed bytes.
    headers['accept-encoding'] = 'identity'
    if (from > 0) headers.range = `bytes=${from}-`
    if (settings.token !== null && address.origin === home) {
      keepSecret(settings.token)
      headers.authorization = `Bearer ${settings.token}`
    }
    const reply = await send(address, { method, headers }, { timeout: settings.timeout, signal }, subject)
    const isFinal = reply.status < 300
    if (isFinal && method === 'GET') return reply
    await reply.discard()
    if (isFinal) return reply
    if (!REDIRECTS.has(reply.status)) throw failure(reply, address, home, subject)
    const next = nextAddress(reply, address, subject)
    if (method === 'HEAD' && (reply.headers.has('x-linked-etag') || next.origin !== address.origin)) return reply
    address = next
  }
  throw new RunError('hub-error', `The hub redirects in a loop when asked for ${nameOf(subject)}.`)
}

/** Makes the error for an answer. Redirect targets expire, so a failure there may be temporary. */
function failure(reply: Reply, { origin, host }: URL, home: string, subject: Subject): Error {
  if (origin === home) return refusal(reply, subject)
  const { status } = reply
  return new PassingFailure('hub-error', `${host} answered ${status} when asked for ${nameOf(subject)}`)
}

function nextAddress({ headers }: Reply, from: URL, subject: Subject): URL {
  const location = headers.get('location') ?? ''
  if (location === '' || !URL.canParse(location, from.href)) {
    throw new RunError('hub-error', `The hub redirects without an address when asked for ${nameOf(subject)}.`)
  }
  const next = new URL(location, from)
  if (next.protocol === from.protocol || next.protocol === 'https:') return next
  throw new RunError('hub-error', `The hub redirects to an unsafe address (${next.protocol}) for ${nameOf(subject)}.`)
}

async function send(
  address: URL,
  options: { method: string; headers: Record<string, string> },
  { timeout, signal }: { timeout: number; signal?: AbortSignal },
  subject: Subject,
): Promise<Reply> {
  const watch = new Watch(timeout)
  const ends = signal ? AbortSignal.any([watch.signal, signal]) : watch.signal
  const lost = (cause: unknown, code: string, doing: string) => {
    const reason = watch.expired ? SILENT : fetchFailure(cause)
    return new PassingFailure(code, `${doing} ${nameOf(subject)}: ${reason}`, {
      unanswered: code === 'hub-unreachable' && NOBODY.has(reason),
      cause,
    })
  }
  let response: Response
  try {
    response = await fetch(address, { ...options, redirect: 'manual', signal: ends })
  } catch (cause) {
    watch.end()
    throw lost(cause, 'hub-unreachable', `${address.host} cannot be reached for`)
  }
  return {
    status: response.status,
    headers: response.headers,
    async *body() {
      try {
        yield* watch.over(response.body)
      } catch (cause) {
        throw lost(cause, 'download-cut', 'The connection was lost while receiving')
      } finally {
        watch.end()
      }
    },
    async discard() {
      watch.end()
      await response.body?.cancel().catch(() => {})
    },
  }
}

/**
 * Reads the bytes of an answer.
 * @param source names the answer, at the start of a sentence
 * @throws InputError `malformed-file` if there are too many
 */
export async function wholeBody(body: AsyncIterable<Uint8Array>, source: string): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body) {
    chunks.push(chunk)
    length += chunk.length
    if (length > LONGEST) throw new InputError('malformed-file', `${source} is longer than ${LONGEST} bytes.`)
  }
  return Buffer.concat(chunks)
}

/** Aborts after a number of milliseconds of silence. */
export class Watch {
  readonly #controller = new AbortController()
  readonly #timer: NodeJS.Timeout
  expired = false

  constructor(timeout: number) {
    this.#timer = setTimeout(() => {
      this.expired = true
      this.#controller.abort()
    }, timeout)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  extend(): void {
    this.#timer.refresh()
  }

  /** Yields the chunks of a body; each chunk ends a silence. */
  async *over(body: AsyncIterable<Uint8Array> | null): AsyncIterable<Uint8Array> {
    for await (const chunk of body ?? []) {
      this.extend()
      yield chunk
    }
  }

  end(): void {
    clearTimeout(this.#timer)
  }
}

/** Returns the cause of a "fetch failed", such as `ENOTFOUND`. */
export function fetchFailure(error: unknown): string {
  const { cause, code, message } = error as { cause?: unknown; code?: unknown; message?: unknown }
  if (cause instanceof Error) return fetchFailure(cause)
  return String(code ?? message)
}
