/** Records of data files, one after the other: JSON lines are streamed, never read whole. */
import { createReadStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import { InputError, UsageError } from '../errors.js'
import { isJsonObject, parseJson } from '../io/json.js'
import { decodeText, type Line, readLines } from './lines.js'

/** One value of a data file, not yet known to be a row. */
export interface DataRecord {
  value: unknown
  /** Where it stands, for errors: `train.jsonl:12`. */
  where: string
}

/** A file to read and how; `-` is standard input. */
export interface DataFile {
  path: string
  format: 'lines' | 'json' | 'text' | 'unknown'
  bytes: number
}

const FORMATS: Record<string, DataFile['format']> = {
  '.jsonl': 'lines',
  '.ndjson': 'lines',
  '.json': 'json',
  '.txt': 'text',
  '.text': 'text',
}
const LATER = new Set(['.csv', '.tsv', '.parquet', '.arrow', '.gz', '.zst', '.zip'])

/**
 * The files that sources name: files, folders (every data file inside, sorted by path) and `-`.
 * @throws UsageError `missing-file`, `unsupported-data`
 */
export async function findDataFiles(source: string | readonly string[]): Promise<DataFile[]> {
  const sources = typeof source === 'string' ? [source] : source
  if (sources.length === 0) throw new UsageError('missing-data', 'No data was named; give a file, a folder or -.')
  return (await Promise.all(sources.map(filesOf))).flat()
}

async function filesOf(path: string): Promise<DataFile[]> {
  if (path === '-') return [{ path, format: 'unknown', bytes: 0 }]
  const facts = await stat(path).catch((cause) => {
    throw missing(path, cause)
  })
  if (!facts.isDirectory()) {
    const extension = extname(path).toLowerCase()
    if (LATER.has(extension)) throw notYet(path)
    return [{ path, format: FORMATS[extension] ?? 'unknown', bytes: facts.size }]
  }
  const names = (await readdir(path, { recursive: true })).filter((name) => !/(^|[/\\])\./.test(name)).sort()
  const later = names.find((name) => LATER.has(extname(name).toLowerCase()))
  if (later !== undefined) throw notYet(join(path, later))
  const known = names.map((name) => join(path, name)).filter((name) => FORMATS[extname(name).toLowerCase()])
  if (known.length === 0) {
    throw new UsageError('missing-data', `The folder ${path} holds no data file (${Object.keys(FORMATS).join(', ')}).`)
  }
  return (await Promise.all(known.map(filesOf))).flat()
}

function missing(path: string, cause: unknown): UsageError {
  const extension = extname(path).toLowerCase()
  const isHubId = /^[\w.-]+\/[\w.-]+$/.test(path) && !FORMATS[extension] && !LATER.has(extension)
  const hint = isHubId ? '; data sets of the hub come later: download it and give the files' : ''
  return new UsageError('missing-file', `The data ${path} does not exist${hint}.`, { cause })
}

function notYet(path: string): UsageError {
  return new UsageError(
    'unsupported-data',
    `${path}: ${extname(path)} files come later; convert it to JSON lines (.jsonl), one row a line.`,
  )
}

/** Every record of files, in order. */
export async function* readRecords(files: readonly DataFile[]): AsyncGenerator<DataRecord> {
  for (const file of files) yield* recordsOf(file, openBytes(file.path))
}

function openBytes(path: string): AsyncIterable<Uint8Array> {
  return path === '-' ? process.stdin : createReadStream(path, { highWaterMark: 1 << 18 })
}

/** @param bytes content of the file, from its start */
export async function* recordsOf(file: DataFile, bytes: AsyncIterable<Uint8Array>): AsyncGenerator<DataRecord> {
  const name = file.path === '-' ? 'standard input' : basename(file.path)
  if (file.format === 'text') yield* textRecord(await collect(bytes), name)
  else if (file.format === 'lines') yield* lineRecords(readLines(bytes, name), name)
  else yield* sniffedRecords(bytes, name, file.format === 'json')
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all)
}

function* textRecord(bytes: Uint8Array, name: string): Generator<DataRecord> {
  const text = decodeText(bytes, name, true)
  if (text.trim() !== '') yield { value: { text }, where: name }
}

async function* lineRecords(lines: AsyncIterable<Line>, name: string): AsyncGenerator<DataRecord> {
  for await (const { text, number } of lines)
    yield { value: parseLine(text, `${name}:${number}`), where: `${name}:${number}` }
}

function parseLine(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const problem = (cause as Error).message.split('\n')[0]
    throw new InputError('malformed-json', `${where} is not valid JSON: ${problem}.`, { cause })
  }
}

/**
 * `.json` files often hold JSON lines, and a name may say nothing: a first line that is an object by itself means lines;
 * else JSON as a whole; else, where the name does not promise JSON, text.
 */
async function* sniffedRecords(
  bytes: AsyncIterable<Uint8Array>,
  name: string,
  isJson: boolean,
): AsyncGenerator<DataRecord> {
  const chunks = bytes[Symbol.asyncIterator]()
  const head: Uint8Array[] = []
  let done = false
  const endOfFirstLine = () => /\S[^\n]*\n/.test(Buffer.concat(head).toString('latin1'))
  while (!done && !endOfFirstLine()) {
    const next = await chunks.next()
    if (next.done) done = true
    else head.push(next.value)
  }
  const rest = {
    async *[Symbol.asyncIterator]() {
      yield* head
      while (!done) {
        const next = await chunks.next()
        if (next.done) return
        yield next.value
      }
    },
  }
  const start = Buffer.concat(head)
    .toString('utf8')
    .replace(/^\ufeff/, '')
    .trimStart()
  const firstLine = start.split('\n', 1)[0]!
  if (start.startsWith('{') && isJsonText(firstLine) && !isRowList(JSON.parse(firstLine))) {
    yield* lineRecords(readLines(rest, name), name)
  } else if (
    isJson ||
    start.startsWith('[') ||
    (start.startsWith('{') && !isJsonText(firstLine) && /^\{\s*$/.test(firstLine))
  ) {
    yield* wholeRecords(decodeText(await collect(rest), name, true), name)
  } else if (start.startsWith('{')) {
    yield* lineRecords(readLines(rest, name), name)
  } else {
    yield* textRecord(await collect(rest), name)
  }
}

function isJsonText(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** `{"data": [...]}` and `{"rows": [...]}`, as some tools wrap a list. */
function isRowList(value: unknown): boolean {
  return isJsonObject(value) && (Array.isArray(value.data) || Array.isArray(value.rows))
}

function* wholeRecords(text: string, name: string): Generator<DataRecord> {
  const value = parseJson(text, name)
  const wrapped = isRowList(value) ? (value as { data?: unknown[]; rows?: unknown[] }) : undefined
  const rows = wrapped ? (wrapped.data ?? wrapped.rows)! : value
  if (!Array.isArray(rows)) yield { value: rows, where: name }
  else for (const [i, row] of rows.entries()) yield { value: row, where: `${name}, row ${i + 1}` }
}
