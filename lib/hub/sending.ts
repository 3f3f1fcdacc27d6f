/** A `fetch` for uploading files with a client of the hub: it retries, reports progress, and throws readable errors. */
import { MoraError } from '../common/errors.js'
import { isJsonObject, jsonIn } from '../io/json.js'
import { nameOf, refusalToTake, type Subject } from './refusals.js'
import { fetchFailure, NOBODY, SILENT, userAgent, Watch, wholeBody } from './requests.js'
import { type Pacing, PassingFailure, withRetries } from './retry.js'

/** `@huggingface/hub`'s hint beside a request's body: the file that it is a part of, and the listener of its progress. */
interface ProgressHint {
  readonly path?: string
  readonly part?: number
  readonly numParts?: number
  readonly progressCallback: (fraction: number) => void
}

type Report = (fraction: number) => void

/** Factor by which the answer to an upload may take longer than the answer to a query: a hub ends a commit after a minute. */
const PATIENCE = 2

/**
 * Makes a `fetch` whose answers are complete, so that reading them cannot fail later.
 * @param timeout milliseconds without a byte after which the connection of a query counts as lost
 * @throws InputError `malformed-file` if an answer is too long; RunError `hub-unreachable`, `upload-cut`, `rate-limited`,
 * `hub-error`, `push-conflict`; UsageError `bad-token`, `forbidden`, `repository-not-found`, `revision-not-found`; the signal's
 * reason once it is aborted
 */
export function sendingFetch(subject: Subject, pacing: Pacing, timeout: number): typeof fetch {
  const reportOf = reports()
  return (input, init = {}) => {
    const { progressHint } = init as { progressHint?: ProgressHint }
    const place = { ...subject, file: progressHint?.path ?? null }
    const signal = AbortSignal.any([pacing.signal, init.signal].filter((signal) => signal != null))
    const request = { ...init, signal, headers: withAgent(init.headers) }
    const address = new URL(input instanceof Request ? input.url : input)
    const isUpload = typeof init.body === 'object' && init.body !== null
    const report = reportOf(progressHint)
    return withRetries(
      () => send(address, request, place, { timeout, report }),
      { ...pacing, signal },
      { expectAnswer: !isUpload },
    )
  }
}

async function send(
  address: URL,
  init: RequestInit & { signal: AbortSignal },
  subject: Subject,
  { timeout, report }: { timeout: number; report: Report },
): Promise<Response> {
  const watch = new Watch(init.body == null ? timeout : PATIENCE * timeout)
  const onSent: Report = (fraction) => {
    watch.extend()
    report(fraction)
  }
  const signal = AbortSignal.any([init.signal, watch.signal])
  const source = `The answer of ${address.origin} on ${nameOf(subject)}`
  let response: Response
  let bytes: Buffer
  try {
    response = await fetch(address, { ...init, signal, body: counted(init.body, onSent) })
    bytes = await wholeBody(watch.over(response.body), source)
  } catch (cause) {
    init.signal.throwIfAborted()
    throw cause instanceof MoraError ? cause : lost(watch.expired ? new Error(SILENT) : cause, address, subject)
  } finally {
    watch.end()
  }
  const { status, headers } = response
  const isHub = address.origin === new URL(subject.endpoint).origin
  // A storage that is asked whether it has a block may answer no.
  const isAnswer = response.ok || (status === 404 && !isHub && (init.method ?? 'GET') === 'GET')
  if (!isAnswer) {
    const host = isHub ? null : address.host
    throw refusalToTake({ status, headers }, subject, { host, said: errorIn(bytes) })
  }
  report(1)
  return new Response(bytes.byteLength === 0 ? null : bytes, { status, headers })
}

/** Makes the error for a lost connection; a file that cannot be opened is another error. */
function lost(cause: unknown, { host }: URL, subject: Subject): unknown {
  const reader = (cause as Error).cause ?? cause
  if ((reader as NodeJS.ErrnoException).syscall === 'open') return reader
  const reason = fetchFailure(cause)
  const name = nameOf(subject)
  return NOBODY.has(reason)
    ? new PassingFailure('hub-unreachable', `${host} cannot be reached for ${name}: ${reason}`, {
        unanswered: true,
        cause,
      })
    : new PassingFailure('upload-cut', `The connection to ${host} was lost while sending ${name}: ${reason}`, { cause })
}

/** Returns the error message of an answer in JSON. */
function errorIn(bytes: Buffer): string {
  const answer = jsonIn(String(bytes))
  return isJsonObject(answer) && typeof answer.error === 'string' ? answer.error : ''
}

function withAgent(given: RequestInit['headers']): Headers {
  const headers = new Headers(given)
  headers.set('user-agent', userAgent())
  return headers
}

/** Reports the progress of files, whose parts may be sent at once. */
function reports(): (hint: ProgressHint | undefined) => Report {
  const files = new WeakMap<Report, number[]>()
  return (hint) => {
    if (!hint) return () => {}
    const { part, numParts = 1, progressCallback } = hint
    if (part === undefined) return progressCallback
    const parts = files.get(progressCallback) ?? []
    files.set(progressCallback, parts)
    return (fraction) => {
      parts[part] = fraction
      progressCallback(parts.reduce((sum, one) => sum + one, 0) / numParts)
    }
  }
}

/** Wraps a body to report how much of it was read. Unlike a stream's, its size is known, which storages require. */
function counted(body: RequestInit['body'], report: Report): RequestInit['body'] {
  if (body == null) return body
  const content = body instanceof Blob ? body : new Blob([body as string | ArrayBuffer])
  const { size } = content
  const stream = () => {
    let read = 0
    const counting = new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, controller) => {
        read += chunk.length
        report(read / size)
        controller.enqueue(chunk)
      },
    })
    return content.stream().pipeThrough(counting)
  }
  return Object.defineProperties(new Blob([]), { size: { value: size }, stream: { value: stream } })
}
