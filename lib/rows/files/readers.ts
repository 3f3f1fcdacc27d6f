/** Records of data files, one after the other. Files are streamed; only one record, or a text, is in memory as a whole. */
import { createReadStream } from 'node:fs'
import { basename } from 'node:path'
import { jsonIn } from '../../io/json.js'
import type { DataRecord } from '../record.js'
import { csvRecords, findDelimiter } from './csv.js'
import type { DataFile } from './data-files.js'
import { decompress, signatureOf } from './decompress.js'
import type { DataFormat } from './formats.js'
import { jsonRecords, lineRecords, startOfText, wrappedRows } from './json.js'
import { decodeText } from './lines.js'
import { PARQUET_SIGNATURE, parquetRecords, parquetStreamRecords } from './parquet.js'
import { collectBytes, Peekable } from './peekable.js'

/**
 * Yields every record of files, in order.
 * @param onRead called with the number of bytes that were read since the last call
 * @throws InputError of damaged files and malformed records, with file and line or row
 */
export async function* readRecords(
  files: readonly DataFile[],
  onRead: (bytes: number) => void = () => {},
): AsyncGenerator<DataRecord> {
  for (const file of files) {
    let read = 0
    const counted = (bytes: number) => {
      read += bytes
      onRead(bytes)
    }
    yield* recordsOf(file, openBytes(file.path, counted))
    // Parquet is not read from its start.
    onRead(Math.max(0, file.bytes - read))
  }
}

async function* openBytes(path: string, onRead: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  const stream = path === '-' ? process.stdin : createReadStream(path, { highWaterMark: 1 << 18 })
  for await (const chunk of stream as AsyncIterable<Uint8Array>) {
    onRead(chunk.length)
    yield chunk
  }
}

/** @param bytes content of the file, from its start, compressed if the file is */
export async function* recordsOf(file: DataFile, bytes: AsyncIterable<Uint8Array>): AsyncGenerator<DataRecord> {
  const name = file.path === '-' ? 'standard input' : basename(file.path)
  const stored = new Peekable(bytes)
  const compression = file.compression ?? signatureOf(await stored.peek((start) => start.length >= 4))
  const content = compression ? new Peekable(decompress(stored, compression, name)) : stored
  const format = file.format === 'unknown' || file.format === 'json' ? await sniff(content, file.format) : file.format
  if (format === 'parquet' && !compression && file.path !== '-') {
    await content.close()
    yield* parquetRecords(file.path, name)
  } else {
    yield* READERS[format](content, name)
  }
}

const READERS: Record<Exclude<DataFormat, 'unknown'>, (bytes: Peekable, name: string) => AsyncGenerator<DataRecord>> = {
  lines: lineRecords,
  json: jsonRecords,
  csv: csvRecords,
  tsv: (bytes, name) => csvRecords(bytes, name, '\t'),
  parquet: parquetStreamRecords,
  text: textRecord,
}

async function* textRecord(bytes: Peekable, name: string): AsyncGenerator<DataRecord> {
  const text = decodeText(await collectBytes(bytes, name), name, true)
  if (text.trim() !== '') yield { value: { text }, where: name }
}

/**
 * Determines the format from the content, since `.json` files often hold JSON lines, and some names have no known ending. A
 * complete object in the first line means JSON lines; `[`, or a `{` alone on its line, means one JSON value. If the name is not
 * `.json`, a header with names of row keys means comma-separated values, and everything else is text.
 */
async function sniff(bytes: Peekable, named: 'json' | 'unknown'): Promise<Exclude<DataFormat, 'unknown'>> {
  const magic = await bytes.peek((start) => start.length >= PARQUET_SIGNATURE.length)
  if (named === 'unknown' && magic.subarray(0, PARQUET_SIGNATURE.length).equals(PARQUET_SIGNATURE)) return 'parquet'
  const start = startOfText(
    await bytes.peek((read) => /^(\ufeff|\xef\xbb\xbf)?\s*(\[|\S[^\n]*\n)/.test(read.toString('latin1'))),
  )
  const firstLine = start.split('\n', 1)[0]!
  const value = start.startsWith('{') ? jsonIn(firstLine) : undefined
  if (value !== undefined && !wrappedRows(value)) return 'lines'
  if (named === 'json' || start.startsWith('[') || /^\{\s*$/.test(firstLine) || value !== undefined) return 'json'
  if (start.startsWith('{')) return 'lines'
  return isHeader(firstLine) ? 'csv' : 'text'
}

const ROW_KEYS = new Set([
  'text',
  'prompt',
  'completion',
  'messages',
  'conversations',
  'instruction',
  'output',
  'input_ids',
  'question',
  'query',
  'problem',
])

/** Tells whether a line is two or more short names with a known key among them, or the one name `text`. */
function isHeader(line: string): boolean {
  const names = line
    .trim()
    .split(findDelimiter(line))
    .map((name) => name.trim().replace(/^"(.*)"$/, '$1'))
  return (
    (names.length > 1 || names[0] === 'text') &&
    names.every((name) => /^[\w .-]*$/.test(name)) &&
    names.some((name) => ROW_KEYS.has(name))
  )
}
