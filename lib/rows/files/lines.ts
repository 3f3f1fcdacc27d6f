/** Lines of a byte stream, one at a time. */
import { InputError } from '../../common/errors.js'
import { MAX_WHOLE_BYTES } from '../../io/open.js'

interface Line {
  text: string
  /** Line number, from 1. */
  number: number
}

const NEWLINE = 0x0a

/**
 * Splits at newlines (also CRLF); drops a byte order mark and blank lines.
 *
 * @param name of the file, for errors
 * @throws InputError `invalid-utf8` with file and line
 */
export async function* readLines(chunks: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Line> {
  for await (const { text, number } of readRawLines(chunks, name)) {
    if (text.trim() !== '') yield { text: text.replace(/\r$/, ''), number }
  }
}

/** Like `readLines`, but keeps blank lines and carriage returns. */
export async function* readRawLines(chunks: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Line> {
  let number = 1
  const pieces = new Pieces(() => `${name}:${number}`)
  const line = () => ({ text: decodeText(pieces.take(), `${name}:${number}`, number === 1), number })
  for await (const chunk of chunks) {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      pieces.add(chunk.subarray(start, end))
      yield line()
      number++
      start = end + 1
    }
    pieces.add(chunk.subarray(start))
  }
  if (pieces.length > 0) yield line()
}

/** Collects bytes that arrive in pieces. */
export class Pieces {
  length = 0
  #pieces: Uint8Array[] = []
  readonly #what: () => string

  /** @param what names the content in errors */
  constructor(what: () => string) {
    this.#what = what
  }

  /** @throws InputError `too-large` */
  add(piece: Uint8Array): void {
    this.length += piece.length
    if (this.length > MAX_WHOLE_BYTES) {
      throw new InputError(
        'too-large',
        `${this.#what()} has more than the ${MAX_WHOLE_BYTES} bytes that are read as a whole: cut it into several rows or files.`,
      )
    }
    this.#pieces.push(piece)
  }

  take(): Buffer {
    const bytes = Buffer.concat(this.#pieces)
    this.#pieces = []
    this.length = 0
    return bytes
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** @throws InputError `invalid-utf8` */
export function decodeText(bytes: Uint8Array, where: string, dropByteOrderMark: boolean): string {
  try {
    const text = decoder.decode(bytes)
    return dropByteOrderMark && text.startsWith('\ufeff') ? text.slice(1) : text
  } catch (cause) {
    throw new InputError('invalid-utf8', `${where} is not valid UTF-8; save the file as UTF-8.`, { cause })
  }
}
