/** Lines of a byte stream, one at a time. */
import { InputError } from '../errors.js'

export interface Line {
  text: string
  /** Counted from 1. */
  number: number
}

const NEWLINE = 0x0a

/**
 * Splits at newlines (also CRLF), drops a byte order mark and blank lines.
 *
 * @param name of the file, for errors
 * @throws InputError `invalid-utf8` with file and line
 */
export async function* readLines(chunks: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Line> {
  for await (const { text, number } of readRawLines(chunks, name)) {
    if (text.trim() !== '') yield { text: text.replace(/\r$/, ''), number }
  }
}

/** Like `readLines`, with blank lines, and with the carriage return where a line ends on one. */
export async function* readRawLines(chunks: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Line> {
  let number = 0
  for await (const bytes of splitAtNewlines(chunks)) {
    number++
    yield { text: decodeText(bytes, `${name}:${number}`, number === 1), number }
  }
}

async function* splitAtNewlines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let pending: Uint8Array[] = []
  for await (const chunk of chunks) {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      pending.push(chunk.subarray(start, end))
      yield Buffer.concat(pending)
      pending = []
      start = end + 1
    }
    if (start < chunk.length) pending.push(chunk.subarray(start))
  }
  if (pending.length > 0) yield Buffer.concat(pending)
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
