/**
 * Comma- and tab-separated values (RFC 4180) as rows by the names in their header. Read line by line, so that errors
 * name the line where a record begins.
 */
import { InputError, quoted } from '../../errors.js'
import { shortened } from '../../printable.js'
import type { DataRecord } from '../rows/record.js'
import { type Line, readRawLines } from './lines.js'

/** Columns whose cells hold a list, written as JSON; an empty cell has none. Every other cell is text. */
const LISTS = new Set(['messages', 'chat_template_kwargs', 'input_ids', 'labels', 'choices'])

/** A quoted field that runs on for longer than this is one whose end is missing. */
const MAX_FIELD_LENGTH = 1 << 26

/** Of the names in a header, bytes that a message has. */
const MOST_NAMED = 300

interface CsvRecord {
  fields: string[]
  /** Where it begins, from 1. */
  line: number
}

/**
 * The records after the header, as objects of text. A column without a name is left out.
 *
 * @param delimiter by default a comma, or where the header has none, a semicolon or tab
 * @param name of the file, for errors
 * @throws InputError `malformed-csv`, `invalid-utf8` with file and line
 */
export async function* csvRecords(
  bytes: AsyncIterable<Uint8Array>,
  name: string,
  delimiter?: string,
): AsyncGenerator<DataRecord> {
  let header: string[] | undefined
  for await (const { fields, line } of splitRecords(readRawLines(bytes, name), name, delimiter)) {
    const where = `${name}:${line}`
    if (!header) {
      header = checkedHeader(fields, where)
      continue
    }
    if (fields.length !== header.length) {
      throw malformed(
        where,
        `expected ${header.length} fields, as in the header (${shortened(header.join(', '), MOST_NAMED)}), but ${fields.length} came; a field that holds the delimiter, a quote or a new line is put in double quotes`,
      )
    }
    yield { value: rowOf(header, fields, where), where }
  }
}

/** The delimiter of a header: a comma, or where there is none outside of quotes, a semicolon or tab. */
export function findDelimiter(header: string): string {
  const bare = header.replace(/"[^"]*"/g, '')
  return [',', ';', '\t'].find((delimiter) => bare.includes(delimiter)) ?? ','
}

async function* splitRecords(
  lines: AsyncIterable<Line>,
  name: string,
  delimiter: string | undefined,
): AsyncGenerator<CsvRecord> {
  let splitter: RecordSplitter | undefined
  for await (const { text, number } of lines) {
    splitter ??= new RecordSplitter(name, delimiter ?? findDelimiter(text))
    const record = splitter.push(text, number)
    if (record) yield record
  }
  splitter?.end()
}

class RecordSplitter {
  #fields: string[] = []
  /** What a quoted field that has not ended holds so far. */
  #open: string | null = null
  #line = 0

  constructor(
    private readonly name: string,
    private readonly delimiter: string,
  ) {}

  /** The record that ends with this line, if one does. */
  push(text: string, number: number): CsvRecord | null {
    if (this.#open === null) {
      if (text.trim() === '') return null
      this.#fields = []
      this.#line = number
    }
    const end = text.endsWith('\r') ? text.length - 1 : text.length
    for (let position = 0; ; ) {
      if (this.#open === null && text[position] === '"') {
        this.#open = ''
        position++
      }
      if (this.#open !== null) {
        const quote = this.#closingQuote(text, position)
        if (quote < 0) return null
        if (quote < end - 1 && text[quote + 1] !== this.delimiter) {
          throw malformed(
            `${this.name}:${number}`,
            'there is text after the quote that ends a field; inside a field a quote is written twice',
          )
        }
        position = quote + 1
      } else {
        const found = text.indexOf(this.delimiter, position)
        const stop = found < 0 ? end : found
        this.#fields.push(text.slice(position, stop))
        position = stop
      }
      if (position >= end) return { fields: this.#fields, line: this.#line }
      position++
    }
  }

  end(): void {
    if (this.#open !== null) throw this.#unclosed('by the end of the file')
  }

  /** Takes text into the open field: where the quote stands that ends it, or -1 if the field goes on in the next line. */
  #closingQuote(text: string, start: number): number {
    for (let position = start; ; ) {
      const quote = text.indexOf('"', position)
      if (quote < 0) {
        this.#open += `${text.slice(position)}\n`
        if (this.#open!.length > MAX_FIELD_LENGTH) throw this.#unclosed(`within ${MAX_FIELD_LENGTH} characters`)
        return -1
      }
      this.#open += text.slice(position, quote)
      if (text[quote + 1] !== '"') {
        this.#fields.push(this.#open!)
        this.#open = null
        return quote
      }
      this.#open += '"'
      position = quote + 2
    }
  }

  #unclosed(where: string): InputError {
    return malformed(`${this.name}:${this.#line}`, `a quoted field of this record is not closed ${where}`)
  }
}

function checkedHeader(fields: readonly string[], where: string): string[] {
  const names = fields.map((field) => field.trim())
  const seen = new Set<string>()
  const twice = names.find((name) => name !== '' && seen.size === seen.add(name).size)
  if (twice !== undefined) throw malformed(where, `the header names the column ${quoted(twice)} twice`)
  return names
}

function rowOf(header: readonly string[], fields: readonly string[], where: string): Record<string, unknown> {
  const cells = header.flatMap((name, i): [string, unknown][] => {
    const text = fields[i]!
    if (name === '') return []
    if (!LISTS.has(name)) return [[name, text]]
    return text.trim() === '' ? [] : [[name, parseList(text, name, where)]]
  })
  return Object.fromEntries(cells)
}

function parseList(text: string, column: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new InputError(
      'malformed-csv',
      `${where}: the column ${column} holds lists written as JSON, but this cell is not valid JSON (Python's notation is not); JSON lines or Parquet keep lists as they are.`,
      { cause },
    )
  }
}

function malformed(where: string, problem: string): InputError {
  return new InputError('malformed-csv', `${where}: ${problem}.`)
}
