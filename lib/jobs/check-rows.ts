/** Checks of uploaded files: every line, with its number and the reason. */
import { createReadStream } from 'node:fs'
import { formatBytes } from '../common/bytes.js'
import { InputError, MoraError, quoted } from '../common/errors.js'
import { sampleOf } from '../graders/sample.js'
import { TemplateFailure, type Variable, variableIn } from '../graders/template.js'
import { isJsonObject, type JsonObject } from '../io/json.js'
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
  let kinds: readonly FileKind[] | undefined
  let rows = 0
  for await (const record of lineRecords(bytesOf(path, name), name)) {
    const { value, where, json = '' } = record
    if (!isJsonObject(value)) throw malformedRow(where, 'expected an object')
    if (excessOf(json, MOST_VALUES)) throw malformedRow(where, 'the row nests values too deeply, or has too many')
    const possible = kinds ?? (Object.keys(readers) as FileKind[])
    const read = readAs(record, readers, possible)
    // A conversation that ends with a question may be an example of its earlier answers, or a prompt.
    kinds ??= endsWithQuestion(value) ? possible : [...read.keys()].slice(0, 1)
    kinds = kinds.filter((kind) => read.has(kind))
    const row = read.get(kinds[0]!)
    if (!isJsonObject(row) || row.kind !== 'left-out') rows++
  }
  const kind = kinds?.[0]
  if (kind === undefined) throw new InputError('no-rows', `${name} has no rows: write a JSON object in each line.`)
  if (rows === 0) {
    throw new InputError('nothing-to-train', `${name}: all rows are logged calls that failed or have no whole answer.`)
  }
  return { kind, rows }
}

/**
 * Reads prompts of `reinforcement`.
 * @param variables of rows that its grader reads
 * @param hasFormat whether answers are JSON by a schema
 * @throws InputError with file, line and reason for a row that does not end with a question, lacks a variable, or has tools beside a schema
 */
export async function checkPrompts(
  path: string,
  name: string,
  { variables, hasFormat }: { variables: readonly Variable[]; hasFormat: boolean },
): Promise<void> {
  const reading = questionReading()
  const sample = sampleOf('')
  for await (const record of lineRecords(bytesOf(path, name), name)) {
    const { messages = [] } = reading.prompt(record)
    const item = record.value as Readonly<Record<string, unknown>>
    const last = (item.messages as readonly { role?: unknown }[]).at(-1)?.role
    if (messages.length === 0 || last !== 'user') {
      throw malformedRow(
        record.where,
        `messages: expected a user's message at the end but received one of ${quoted(last)}`,
      )
    }
    if (hasFormat && Array.isArray(item.tools) && item.tools.length > 0) {
      throw malformedRow(record.where, 'tools: expected none, since answers of a response_format call no functions')
    }
    for (const variable of variables) {
      try {
        variableIn(variable, { item, sample })
      } catch (error) {
        if (!(error instanceof TemplateFailure)) throw error
        throw malformedRow(record.where, `the row lacks what the grader reads: ${error.message}`)
      }
    }
  }
}

type Readers = Partial<Record<FileKind, (record: DataRecord) => unknown>>

/** Columns beside the conversation are a grader's. */
export const QUESTION_COLUMNS = { messages: 'messages', tools: 'tools' }

const questionReading = () => new RowReading({ columns: QUESTION_COLUMNS })

function rowReaders(): Readers {
  const [examples, pairs, prompts] = [new RowReading(), new RowReading({ rows: 'pairs' }), new RowReading()]
  const questions = questionReading()
  return {
    examples: (record) => examples.training(record),
    pairs: (record) => pairs.wanted(record),
    prompts: (record) => (endsWithQuestion(record.value as JsonObject) ? questions : prompts).prompt(record),
  }
}

/** Returns a row as each of some kinds that it fits. @throws InputError why it is not of the first of these */
function readAs(record: DataRecord, readers: Readers, possible: readonly FileKind[]): Map<FileKind, unknown> {
  let first: unknown
  const rows = new Map<FileKind, unknown>()
  for (const kind of possible) {
    try {
      rows.set(kind, readers[kind]!(record))
    } catch (error) {
      if (!(error instanceof MoraError)) throw error
      first ??= error
    }
  }
  if (rows.size === 0) throw first
  return rows
}

const endsWithQuestion = ({ messages }: JsonObject): boolean =>
  Array.isArray(messages) && (messages.at(-1) as { role?: unknown } | undefined)?.role === 'user'

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
