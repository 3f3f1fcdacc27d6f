/** Checks of uploaded files: every line, with its number and the reason. */
import { createReadStream } from 'node:fs'
import { formatBytes } from '../common/bytes.js'
import { InputError, MoraError } from '../common/errors.js'
import { isJsonObject } from '../io/json.js'
import { excessOf } from '../io/json-scan.js'
import { malformedRow } from '../rows/check.js'
import { lineRecords } from '../rows/files/json.js'
import { RowReading } from '../rows/reading.js'
import type { DataRecord } from '../rows/record.js'
import type { FileKind } from './records.js'

/** Maximum number of bytes of a line, and of lists, objects and keys in it: a line is in memory as a whole. */
const MOST_OF_A_LINE = 2 ** 25
const MOST_VALUES = 2 ** 18
const NEWLINE = 0x0a

/**
 * Reads a file of JSON lines, and returns what its rows can train and their number, without logged calls that are left out. The first
 * row decides: the others have to fit it.
 * @param name the file's name for clients, in errors
 * @throws InputError with file, line and reason
 */
export async function checkRows(
  path: string,
  name: string,
  purpose: 'fine-tune' | 'batch',
): Promise<{ kind: FileKind; rows: number }> {
  const readers = purpose === 'batch' ? { requests: requireRequest } : rowReaders()
  let kind: FileKind | undefined
  let rows = 0
  for await (const record of lineRecords(bytesOf(path, name), name)) {
    const { value, where, json = '' } = record
    if (!isJsonObject(value)) throw malformedRow(where, 'expected an object')
    if (excessOf(json, MOST_VALUES)) throw malformedRow(where, 'the row nests values too deeply, or has too many')
    kind ??= kindOf(record, readers)
    const row = readers[kind]!(record)
    if (!isJsonObject(row) || row.kind !== 'left-out') rows++
  }
  if (kind === undefined) throw new InputError('no-rows', `${name} has no rows: write a JSON object in each line.`)
  if (rows === 0) {
    throw new InputError('nothing-to-train', `${name}: all rows are logged calls that failed or have no whole answer.`)
  }
  return { kind, rows }
}

type Readers = Partial<Record<FileKind, (record: DataRecord) => unknown>>

function rowReaders(): Readers {
  const [examples, pairs, prompts] = [new RowReading(), new RowReading({ rows: 'pairs' }), new RowReading()]
  return {
    examples: (record) => examples.training(record),
    pairs: (record) => pairs.wanted(record),
    prompts: (record) => prompts.prompt(record),
  }
}

/** Returns the first kind that a row fits. @throws InputError why it is not of the first kind, which most rows are meant to be */
function kindOf(record: DataRecord, readers: Readers): FileKind {
  let first: unknown
  for (const [kind, read] of Object.entries(readers)) {
    try {
      read(record)
      return kind as FileKind
    } catch (error) {
      if (!(error instanceof MoraError)) throw error
      first ??= error
    }
  }
  throw first
}

/** @throws InputError for a line that is no request of OpenAI's batches */
function requireRequest({ value, where }: DataRecord): void {
  const { custom_id, method, url, body } = value as Readonly<Record<string, unknown>>
  const isText = (one: unknown) => typeof one === 'string' && one !== ''
  if (isText(custom_id) && method === 'POST' && isText(url) && isJsonObject(body)) return
  throw malformedRow(where, 'expected custom_id, method "POST", url and an object as body')
}

async function* bytesOf(path: string, name: string): AsyncGenerator<Uint8Array> {
  let [line, length] = [1, 0]
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 18 }) as AsyncIterable<Uint8Array>) {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      ;[line, length, start] = [line + 1, 0, end + 1]
    }
    length += chunk.length - start
    if (length > MOST_OF_A_LINE) {
      throw malformedRow(`${name}:${line}`, `the line has more than ${formatBytes(MOST_OF_A_LINE)}`)
    }
    yield chunk
  }
}
