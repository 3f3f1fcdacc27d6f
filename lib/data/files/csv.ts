/** Comma- and tab-separated values (RFC 4180) as rows by the names in their header. Errors name the line where a record begins. */
import type { CsvError } from 'csv-parse'
import { InputError, quoted } from '../../common/errors.js'
import { shortened } from '../../common/printable.js'
import type { DataRecord } from '../rows/record.js'
import { startOfText } from './json.js'
import { readRawLines } from './lines.js'
import type { Peekable } from './peekable.js'

/** Columns whose cells hold a list, written as JSON; an empty cell has none. Every other cell is text. */
const LISTS = new Set(['messages', 'conversations', 'chat_template_kwargs', 'input_ids', 'labels', 'choices'])

/** A record that runs on for longer than this has a quoted field whose end is missing. */
const MAX_RECORD_LENGTH = 1 << 26

/** Most bytes that a message shows of the names in a header. */
const MOST_NAMED = 300

/**
 * The records after the header, as objects of text. A column without a name is left out.
 *
 * @param delimiter by default a comma, or where the header has none, a semicolon or tab
 * @param name of the file, for errors
 * @throws InputError `malformed-csv`, `invalid-utf8` with file and line
 */
export async function* csvRecords(bytes: Peekable, name: string, delimiter?: string): AsyncGenerator<DataRecord> {
  let header: string[] | undefined
  for await (const { fields, line } of splitRecords(bytes, name, delimiter ?? (await delimiterOf(bytes)))) {
    const where = `${name}:${line}`
    if (!header) {
      header = checkedHeader(fields, where)
      continue
    }
    if (fields.length !== header.length) {
      throw malformed(
        where,
        `expected ${header.length} fields, as in the header (${shortened(header.join(', '), MOST_NAMED)}), but received ${fields.length}; a field that holds the delimiter, a quote or a new line is put in double quotes`,
      )
    }
    yield { value: rowOf(header, fields, where), where }
  }
}

async function delimiterOf(bytes: Peekable): Promise<string> {
  const start = startOfText(await bytes.peek((read) => startOfText(read).includes('\n')))
  return findDelimiter(start.split('\n', 1)[0]!)
}

/** The delimiter of a header: a comma, or where there is none outside of quotes, a semicolon or tab. */
export function findDelimiter(header: string): string {
  const bare = header.replace(/"[^"]*"/g, '')
  return [',', ';', '\t'].find((delimiter) => bare.includes(delimiter)) ?? ','
}

interface CsvRecord {
  fields: string[]
  /** Where it begins, from 1. */
  line: number
}

/** What the parser makes of a record, and the text that it made it of. */
interface ParsedRecord {
  record: string[]
  raw: string
}

/** Records that are not blank. */
async function* splitRecords(
  bytes: AsyncIterable<Uint8Array>,
  name: string,
  delimiter: string,
): AsyncGenerator<CsvRecord> {
  const check = new RecordCheck(name, delimiter)
  const { CsvError, parse } = await import('csv-parse')
  const parser = parse({
    delimiter,
    record_delimiter: ['\n', '\r\n'],
    max_record_size: MAX_RECORD_LENGTH,
    relax_column_count: true,
    // Quotes may stand inside of a field that does not begin with one; what else this lets through is refused by the check.
    relax_quotes: true,
    raw: true,
  })
  parser.on('error', () => {}) // It is thrown where records are taken.
  try {
    for await (const { text } of readRawLines(bytes, name)) {
      parser.write(`${text}\n`)
      // What the lines so far make: nothing is read ahead of whoever takes records.
      for (let parsed = parser.read(); parsed !== null; parsed = parser.read()) {
        const record = check.record(parsed as ParsedRecord)
        if (record) yield record
      }
      if (parser.errored) throw parser.errored
    }
    parser.end()
    for await (const parsed of parser) {
      const record = check.record(parsed as ParsedRecord)
      if (record) yield record
    }
  } catch (error) {
    throw error instanceof CsvError ? check.unclosed(error) : error
  }
}

/** What the parser does not tell: where a record begins, whether it is a blank line, and whether its quotes are sound. */
class RecordCheck {
  /** Where the record begins. */
  #line = 1

  constructor(
    private readonly name: string,
    private readonly delimiter: string,
  ) {}

  /** Null of a blank line. */
  record({ record: fields, raw }: ParsedRecord): CsvRecord | null {
    const line = this.#line
    const hasQuoted = raw.includes('"') && this.#hasQuoted(fields, raw)
    this.#line += 1 + (hasQuoted ? newlinesOf(raw.replace(/\n$/, '')) : 0)
    const isBlank = !hasQuoted && fields.every((field) => field.trim() === '') && this.#isBlankDelimiter(fields)
    return isBlank ? null : { fields, line }
  }

  /** Whether a field stands in quotes. Such a field has to stand there as it would be written. */
  #hasQuoted(fields: readonly string[], raw: string): boolean {
    let at = 0
    let hasQuoted = false
    for (const field of fields) {
      const isQuoted = raw[at] === '"'
      const written = isQuoted ? `"${field.replaceAll('"', '""')}"` : field
      if (isQuoted && !(raw.startsWith(written, at) && this.#endsAt(raw, at + written.length))) {
        throw malformed(
          `${this.name}:${this.#line + newlinesOf(raw.slice(0, at + field.length))}`,
          'there is text after the quote that ends a field; inside a field a quote is written twice',
        )
      }
      hasQuoted ||= isQuoted
      at += written.length + this.delimiter.length
    }
    return hasQuoted
  }

  #endsAt(raw: string, at: number): boolean {
    return at >= raw.length || '\r\n'.includes(raw[at]!) || raw.startsWith(this.delimiter, at)
  }

  /** Whether there is none, or one that is itself a space. */
  #isBlankDelimiter(fields: readonly string[]): boolean {
    return fields.length === 1 || this.delimiter.trim() === ''
  }

  unclosed({ code }: CsvError): InputError {
    const where = `${this.name}:${this.#line}`
    return code === 'CSV_MAX_RECORD_SIZE'
      ? malformed(where, `this record has more than ${MAX_RECORD_LENGTH} characters; is a quoted field not closed?`)
      : malformed(where, 'a quoted field of this record is not closed by the end of the file')
  }
}

const newlinesOf = (text: string): number => text.match(/\n/g)?.length ?? 0

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
