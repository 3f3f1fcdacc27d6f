/** Records of data files, one after the other. Files are streamed; what is held whole is one record, or a text. */
import { createReadStream } from 'node:fs'
import { basename } from 'node:path'
import { jsonIn } from '../../io/json.js'
import type { DataRecord } from '../rows/record.js'
import { csvRecords, findDelimiter } from './csv.js'
import type { DataFile } from './data-files.js'
import { decompress, signatureOf } from './decompress.js'
import type { DataFormat } from './formats.js'
import { isRowList, jsonRecords, lineRecords, startOfText } from './json.js'
import { decodeText } from './lines.js'
import { PARQUET_SIGNATURE, parquetRecords, parquetStreamRecords } from './parquet.js'
import { collectBytes, Peekable } from './peekable.js'

/**
 * Every record of files, in order.
 * @throws InputError of damaged files and malformed records, with file and line or row
 */
export async function* readRecords(files: readonly DataFile[]): AsyncGenerator<DataRecord> {
  for (const file of files) yield* recordsOf(file, openBytes(file.path))
}

function openBytes(path: string): AsyncIterable<Uint8Array> {
  return path === '-' ? process.stdin : createReadStream(path, { highWaterMark: 1 << 18 })
}

/** @param bytes content of the file, from its start, as it is stored */
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
 * `.json` files often hold JSON lines, and a name may say nothing. A first line that is an object by itself means lines;
 * `[`, or a `{` alone on its line, means JSON as a whole. Where the name does not promise JSON, a header with names of
 * row keys means comma-separated values, and all else is text.
 */
async function sniff(bytes: Peekable, named: 'json' | 'unknown'): Promise<Exclude<DataFormat, 'unknown'>> {
  const magic = await bytes.peek((start) => start.length >= PARQUET_SIGNATURE.length)
  if (named === 'unknown' && magic.subarray(0, PARQUET_SIGNATURE.length).equals(PARQUET_SIGNATURE)) return 'parquet'
  const start = startOfText(
    await bytes.peek((read) => /^(\ufeff|\xef\xbb\xbf)?\s*(\[|\S[^\n]*\n)/.test(read.toString('latin1'))),
  )
  const firstLine = start.split('\n', 1)[0]!
  const value = start.startsWith('{') ? jsonIn(firstLine) : undefined
  if (value !== undefined && !isRowList(value)) return 'lines'
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
])

/** Two or more short names, or the one name `text`, with a known key among them. */
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
