/**
 * Comma- and tab-separated values (RFC 4180) as rows by the names in their header. Errors name the line where a record begins.
 */
import { InputError, quoted } from '../../common/errors.js'
import { shortened } from '../../common/printable.js'
import type { DataRecord } from '../record.js'
import { startOfText } from './json.js'
import { readRawLines } from './lines.js'
import type { Peekable } from './peekable.js'

/** Columns whose cells hold a list, written as JSON; an empty cell means no list. */
const LISTS = new Set(['messages', 'conversations', 'chat_template_kwargs', 'input_ids', 'labels', 'choices'])

/** Columns whose cells hold a list if they begin like one. Every other cell is text. */
const MAYBE_LISTS = new Set(['conversation', 'history', 'options', 'endings', 'mc1_targets', 'completion_mask'])

/** The columns of MMLU, whose files have no header: a question, four choices, and the letter of the right one. */
const MMLU = ['question', 'A', 'B', 'C', 'D', 'answer']

/** In a longer field the closing quote is assumed to be missing. */
const MAX_FIELD_LENGTH = 1 << 26

const TOO_LONG = `this record has a field of more than ${MAX_FIELD_LENGTH} characters; is a quoted field not closed?`
const TEXT_AFTER_QUOTE = 'there is text after the quote that ends a field; inside a field a quote is written twice'

/** Bytes of the header's names that a message shows at most. */
const MOST_NAMED = 300

/**
 * Yields the records after the header, as objects of text. A column without a name is left out. A file of MMLU needs no header;
 * its subject is in its name.
 *
 * @param delimiter by default a comma, or if the header has none, a semicolon or tab
 * @param name of the file, for errors
 * @throws InputError `malformed-csv`, `invalid-utf8` with file and line
 */
export async function* csvRecords(bytes: Peekable, name: string, delimiter?: string): AsyncGenerator<DataRecord> {
  let header: string[] | undefined
  let subject: string | undefined
  for await (const { fields, line } of splitRecords(bytes, name, delimiter ?? (await delimiterOf(bytes)))) {
    const where = `${name}:${line}`
    if (!header) {
      const isMmlu = isMmluRecord(fields)
      header = isMmlu ? MMLU : checkedHeader(fields, where)
      if (!isMmlu) continue
      subject = /^(.+)_(?:test|dev|val)\.csv$/.exec(name)?.[1]
    }
    if (fields.length !== header.length) {
      throw malformed(
        where,
        `expected ${header.length} fields, as in the header (${shortened(header.join(', '), MOST_NAMED)}), but received ${fields.length}; a field that holds the delimiter, a quote or a new line is put in double quotes`,
      )
    }
    yield { value: { ...rowOf(header, fields, where), ...(subject && { subject }) }, where }
  }
}

async function delimiterOf(bytes: Peekable): Promise<string> {
  const start = startOfText(await bytes.peek((read) => startOfText(read).includes('\n')))
  return findDelimiter(start.split('\n', 1)[0]!)
}

/** Returns the delimiter of a header: a comma, or if there is none outside quotes, a semicolon or tab. */
export function findDelimiter(header: string): string {
  const bare = header.replace(/"[^"]*"/g, '')
  return [',', ';', '\t'].find((delimiter) => bare.includes(delimiter)) ?? ','
}

interface CsvRecord {
  fields: string[]
  /** The line where the record begins, from 1. */
  line: number
}

/**
 * Yields records that are not blank. A field that begins with a quote ends with one; in between it may contain delimiters, new
 * lines, and quotes that are written twice. Elsewhere a quote is text.
 */
async function* splitRecords(
  bytes: AsyncIterable<Uint8Array>,
  name: string,
  delimiter: string,
): AsyncGenerator<CsvRecord> {
  let fields: string[] = []
  let [line, hasQuotes] = [1, false]
  /** Lines of a field whose closing quote is not read yet, and their length. */
  let quoted: string[] | null = null
  let length = 0
  for await (const { text, number } of readRawLines(bytes, name)) {
    if (!quoted) [fields, line, hasQuotes] = [[], number, false]
    const lineEnd = text.endsWith('\r') ? text.length - 1 : text.length
    for (let at = 0; at <= lineEnd; at += delimiter.length) {
      if (!quoted && text[at] === '"') {
        ;[quoted, length, hasQuotes] = [[], 0, true]
        at++
      }
      if (quoted) {
        const end = closingQuote(text, at)
        quoted.push(text.slice(at, end))
        length += end - at
        if (length > MAX_FIELD_LENGTH) throw malformed(`${name}:${line}`, TOO_LONG)
        if (end === text.length) break
        fields.push(quoted.join('\n').replaceAll('""', '"'))
        quoted = null
        at = end + 1
        if (at < lineEnd && !text.startsWith(delimiter, at)) throw malformed(`${name}:${number}`, TEXT_AFTER_QUOTE)
      } else {
        const next = text.indexOf(delimiter, at)
        const end = next < 0 ? lineEnd : next
        fields.push(text.slice(at, end))
        at = end
      }
    }
    if (quoted) continue
    const isBlank = !hasQuotes && fields.every((field) => field.trim() === '')
    // A line of commas is a record without text, a line of tabs is blank.
    if (!isBlank || (fields.length > 1 && delimiter.trim() !== '')) yield { fields, line }
  }
  if (quoted) throw malformed(`${name}:${line}`, 'a quoted field of this record is not closed by the end of the file')
}

/** Whether a first line is a question of MMLU: several words, four choices and a letter. */
function isMmluRecord(fields: readonly string[]): boolean {
  return fields.length === MMLU.length && /\S\s+\S/.test(fields[0]!) && /^[A-D]$/.test(fields.at(-1)!)
}

/** Returns the place of the quote that ends a field, or the end of the text. */
function closingQuote(text: string, from: number): number {
  let at = text.indexOf('"', from)
  while (at >= 0 && text[at + 1] === '"') at = text.indexOf('"', at + 2)
  return at < 0 ? text.length : at
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
    if (!LISTS.has(name) && !(MAYBE_LISTS.has(name) && /^\s*[[{]/.test(text))) return [[name, text]]
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
      `${where}: the column ${column} holds lists written as JSON, but this cell is not valid JSON (Python's notation is not); JSON lines and Parquet have lists of their own.`,
      { cause },
    )
  }
}

function malformed(where: string, problem: string): InputError {
  return new InputError('malformed-csv', `${where}: ${problem}.`)
}
