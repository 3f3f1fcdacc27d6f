/** Reads forms with files (`multipart/form-data`, RFC 7578) part by part: a file is never in memory as a whole. */
import { ApiError } from './api-error.js'

/** A field or a file of a form. */
export interface FormPart {
  readonly name: string
  /** Undefined for a field. */
  readonly filename: string | undefined
  /** Its content, which has to be read before the next part. */
  readonly content: AsyncIterable<Uint8Array>
}

/** Maximum number of bytes of a part's headers, and of parts. */
const MOST_OF_HEADERS = 2 ** 14
const MOST_PARTS = 32
const CRLF = '\r\n'

/**
 * Yields the parts of a form.
 * @throws ApiError 415 for another content type, 413 for more than `most` bytes, 400 for a form that is damaged
 */
export async function* formParts(request: Request, most: number): AsyncGenerator<FormPart> {
  const type = request.headers.get('content-type') ?? ''
  const [, quotedBoundary, plain] =
    /^multipart\/form-data *;(?:.*;)? *boundary=(?:"([^"]+)"|([^\s;]+))/i.exec(type) ?? []
  const boundary = quotedBoundary ?? plain
  if (boundary === undefined) {
    throw new ApiError(415, 'Expected the content type multipart/form-data with a boundary.', {
      code: 'unsupported_media_type',
    })
  }
  const bytes = new MarkedBytes(limited(request, most))
  const marker = Buffer.from(`${CRLF}--${boundary}`, 'latin1')
  // The first boundary has no line before it.
  bytes.unread(Buffer.from(CRLF))
  for await (const _ of bytes.until(marker)) {
    // A preamble, which has no meaning.
  }
  for (let count = 0; ; count++) {
    const next = (await bytes.take(2)).toString('latin1')
    if (next === '--') return
    if (next !== CRLF || count === MOST_PARTS) throw damaged()
    bytes.unread(Buffer.from(CRLF))
    const headers = await headersIn(bytes)
    const content = bytes.until(marker)
    yield { ...nameIn(headers), content }
    for await (const _ of content) {
      // The rest of a part that was not read.
    }
  }
}

const damaged = () =>
  new ApiError(400, 'The form is damaged: its parts do not end as it says.', { code: 'invalid_form' })

async function* limited(request: Request, most: number): AsyncGenerator<Uint8Array> {
  const tooLarge = () =>
    new ApiError(413, `The form is larger than ${most} bytes.`, {
      code: 'body_too_large',
      // The rest of the body is not read, so the connection cannot be used again.
      headers: { connection: 'close' },
    })
  if (Number(request.headers.get('content-length') ?? 0) > most) throw tooLarge()
  let size = 0
  for await (const chunk of request.body ?? []) {
    size += chunk.length
    if (size > most) throw tooLarge()
    yield chunk
  }
}

async function headersIn(bytes: MarkedBytes): Promise<string> {
  let headers = Buffer.alloc(0)
  for await (const piece of bytes.until(Buffer.from(`${CRLF}${CRLF}`))) {
    headers = Buffer.concat([headers, piece])
    if (headers.length > MOST_OF_HEADERS) throw damaged()
  }
  return headers.toString('utf8')
}

/** Browsers write a quote in a name as %22. */
function nameIn(headers: string): Pick<FormPart, 'name' | 'filename'> {
  const disposition = /^content-disposition *: *form-data *;(.*)$/im.exec(headers)?.[1]
  const parameter = (key: string) => {
    const [, inQuotes, bare] =
      new RegExp(`(?:^|;) *${key}=(?:"((?:[^"\\\\]|\\\\.)*)"|([^;\\s]*))`, 'i').exec(disposition ?? '') ?? []
    return (inQuotes?.replace(/\\(["\\])/g, '$1') ?? bare)?.replace(/%22/g, '"')
  }
  const name = parameter('name')
  if (name === undefined) throw damaged()
  return { name, filename: parameter('filename') }
}

/** Bytes that are read up to markers. */
class MarkedBytes {
  readonly #source: AsyncIterator<Uint8Array>
  #ahead: Buffer = Buffer.alloc(0)

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  /** Puts bytes before those to come. */
  unread(bytes: Buffer): void {
    this.#ahead = Buffer.concat([bytes, this.#ahead])
  }

  /** @throws ApiError 400 if fewer are left */
  async take(count: number): Promise<Buffer> {
    while (this.#ahead.length < count) await this.#more()
    const taken = this.#ahead.subarray(0, count)
    this.#ahead = this.#ahead.subarray(count)
    return taken
  }

  /** Yields the bytes before a marker, and skips the marker. @throws ApiError 400 if there is none */
  async *until(marker: Buffer): AsyncGenerator<Uint8Array> {
    for (;;) {
      const end = this.#ahead.indexOf(marker)
      if (end >= 0) {
        const last = this.#ahead.subarray(0, end)
        this.#ahead = this.#ahead.subarray(end + marker.length)
        if (last.length > 0) yield last
        return
      }
      // The marker may begin in these bytes.
      const safe = Math.max(0, this.#ahead.length - marker.length + 1)
      const known = this.#ahead.subarray(0, safe)
      this.#ahead = this.#ahead.subarray(safe)
      if (known.length > 0) yield known
      await this.#more()
    }
  }

  async #more(): Promise<void> {
    const { done, value } = await this.#source.next()
    if (done) throw damaged()
    this.#ahead = this.#ahead.length === 0 ? Buffer.from(value) : Buffer.concat([this.#ahead, value])
  }
}
