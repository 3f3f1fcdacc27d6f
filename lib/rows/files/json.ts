/** Records of JSON files: one value per line, or a list of values, each parsed separately. */
import { InputError, quoted } from '../../common/errors.js'
import { reasonOf } from '../../common/foreign-errors.js'
import { isJsonObject, parseJson } from '../../io/json.js'
import { findJsonProblem, lineAndColumn } from '../../io/json-scan.js'
import type { DataRecord } from '../record.js'
import { decodeText, Pieces, readLines } from './lines.js'
import { collectBytes, type Peekable } from './peekable.js'

/** Yields the records of JSON lines. */
export async function* lineRecords(bytes: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<DataRecord> {
  for await (const { text, number } of readLines(bytes, name)) {
    const where = `${name}:${number}`
    const value = parseLine(text, where)
    if (number === 1) requireNoTable(value, name)
    yield { value, where, json: text }
  }
}

/** Matches a line that begins a list or an object and does not end it. */
const GOES_ON = /^\s*[[{]\s*$|^\s*[[{].*[[{,]\s*$/

function parseLine(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const found = findJsonProblem(text)
    const problem = found ? `at column ${found.position + 1} ${found.problem}` : reasonOf(cause, 'it is damaged')
    const advice = GOES_ON.test(text)
      ? '; if a value has several lines, name the file .json, or write one row per line'
      : ''
    throw new InputError('malformed-json', `${where} is not valid JSON: ${problem}${advice}.`, { cause })
  }
}

/**
 * Yields the elements of a list, also if a tool wrapped it, as `{"data": [...]}`, or else the single value.
 * Only a list at the top level is streamed; other values are in memory as a whole.
 */
export async function* jsonRecords(bytes: Peekable, name: string): AsyncGenerator<DataRecord> {
  const start = await bytes.peek((read) => startOfText(read) !== '')
  if (startOfText(start).startsWith('[')) {
    yield* elementRecords(bytes, name)
    return
  }
  const text = decodeText(await collectBytes(bytes, name), name, true)
  const value = parseJson(text, name)
  const rows = wrappedRows(value)
  if (!rows) requireNoTable(value, name)
  if (!rows) yield { value, where: name, json: text }
  else for (const [i, row] of rows.entries()) yield { value: row, where: `${name}, row ${i + 1}` }
}

/** Minimum number of keys, each with an object, for an object to count as a table of rows by name. */
const MANY_KEYS = 8
const SHOWN_KEYS = 3

/** @throws InputError for an object of rows by name */
function requireNoTable(value: unknown, name: string): void {
  if (!isJsonObject(value)) return
  const keys = Object.keys(value)
  if (keys.length < MANY_KEYS || !Object.values(value).every(isJsonObject)) return
  const shown = keys.slice(0, SHOWN_KEYS).map((key) => quoted(key))
  throw new InputError(
    'malformed-row',
    `${name}: expected a list of rows but received one object of ${keys.length} keys (${shown.join(', ')}, …), each with an object: write these as a list.`,
  )
}

/** Returns the first line of some bytes, without a byte order mark, spaces and empty lines before it. */
export function startOfText(bytes: Buffer): string {
  return bytes
    .toString('utf8')
    .replace(/^\ufeff/, '')
    .trimStart()
}

/** Keys under which tools put a list of rows. */
const WRAPPERS = ['data', 'rows', 'train', 'examples', 'instances']

/** Returns the list of rows that an object wraps; undefined for anything else. A row has no such list. */
export function wrappedRows(value: unknown): unknown[] | undefined {
  if (!isJsonObject(value)) return undefined
  return WRAPPERS.map((key) => value[key]).find(
    (rows): rows is unknown[] => Array.isArray(rows) && rows.every(isJsonObject),
  )
}

async function* elementRecords(bytes: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<DataRecord> {
  const elements = new ElementSplitter(name)
  let row = 0
  for await (const chunk of bytes) {
    for (const element of elements.push(chunk)) {
      const where = `${name}, row ${++row}`
      yield { ...parseElement(element, where), where }
    }
  }
  elements.end()
}

interface Element {
  bytes: Buffer
  /** The line of the file, from 1. */
  line: number
}

function parseElement({ bytes, line }: Element, where: string): { value: unknown; json: string } {
  const text = decodeText(bytes, where, false)
  try {
    return { value: JSON.parse(text) as unknown, json: text }
  } catch (cause) {
    const found = findJsonProblem(text)
    const problem = found?.problem ?? reasonOf(cause, 'it is damaged')
    const at = line + lineAndColumn(text, found?.position ?? 0).line - 1
    throw new InputError('malformed-json', `${where}, is not valid JSON: at line ${at} ${problem}.`, { cause })
  }
}

const [TAB, NEWLINE, RETURN, SPACE, QUOTE, COMMA, BACKSLASH] = [0x09, 0x0a, 0x0d, 0x20, 0x22, 0x2c, 0x5c]
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d]

/** Splits a list at its own commas; JSON.parse reads the elements. */
class ElementSplitter {
  /** Number of open brackets; the list's own is the first. */
  #depth = 0
  #inString = false
  #escaped = false
  #isOver = false
  #line = 1
  #lineOfElement = 1
  #count = 0
  readonly #pending: Pieces
  readonly #name: string

  constructor(name: string) {
    this.#name = name
    this.#pending = new Pieces(() => `The value of ${name} that begins at line ${this.#lineOfElement}`)
  }

  *push(chunk: Uint8Array): Generator<Element> {
    /** Start of the pending element's part in this chunk. */
    let start = 0
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i]!
      if (byte === NEWLINE) this.#line++
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false
        else if (byte === BACKSLASH) this.#escaped = true
        else if (byte === QUOTE) this.#inString = false
      } else if (this.#isOver) {
        if (!isSpace(byte)) throw this.#malformed('there is text after the end of the list')
      } else if (byte === QUOTE) {
        this.#inString = true
      } else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
        if (++this.#depth > 1) continue
        start = i + 1
        this.#lineOfElement = this.#line
      } else if (byte === CLOSE_LIST || byte === CLOSE_OBJECT) {
        if (--this.#depth > 0) continue
        if (byte === CLOSE_OBJECT) throw this.#malformed("expected ']' but received '}'")
        this.#isOver = true
        const element = this.#take(chunk.subarray(start, i))
        if (!isBlank(element.bytes)) yield element
        else if (this.#count > 0) throw this.#malformed("expected a value after ',' but received ']'")
      } else if (byte === COMMA && this.#depth === 1) {
        this.#count++
        yield this.#take(chunk.subarray(start, i))
        start = i + 1
        this.#lineOfElement = this.#line
      }
    }
    if (this.#depth > 0) this.#pending.add(chunk.subarray(start))
  }

  end(): void {
    if (!this.#isOver) throw this.#malformed('the file ends inside of its list')
  }

  #take(end: Uint8Array): Element {
    this.#pending.add(end)
    return { bytes: this.#pending.take(), line: this.#lineOfElement }
  }

  #malformed(problem: string): InputError {
    return new InputError('malformed-json', `${this.#name} is not valid JSON: at line ${this.#line} ${problem}.`)
  }
}

function isSpace(byte: number): boolean {
  return byte === SPACE || byte === NEWLINE || byte === RETURN || byte === TAB
}

function isBlank(bytes: Uint8Array): boolean {
  return bytes.every(isSpace)
}
