/** Which files a source names, and what their names say about their content. */
import { readdir, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { UsageError } from '../errors.js'
import { type Compression, compressionOf, refuseUnreadable } from './decompress.js'

/** How a file's records are written; `unknown` is found out from its content. */
export type DataFormat = 'lines' | 'json' | 'text' | 'csv' | 'tsv' | 'parquet' | 'unknown'

/** A file to read and how; `-` is standard input. */
export interface DataFile {
  path: string
  format: DataFormat
  /** By its name: `rows.jsonl.gz`. */
  compression?: Compression
  bytes: number
}

const FORMATS: Record<string, DataFormat> = {
  '.jsonl': 'lines',
  '.ndjson': 'lines',
  '.json': 'json',
  '.txt': 'text',
  '.text': 'text',
  '.csv': 'csv',
  '.tsv': 'tsv',
  '.parquet': 'parquet',
}

/** Data that other tools read. In a folder it must not be passed over: the rest would be trained without it. */
const UNREAD = new Set(
  ['arrow', 'feather', 'orc', 'avro', 'xlsx', 'zip', 'tar', 'tgz', 'bz2', 'xz', '7z'].map((name) => `.${name}`),
)

/**
 * The files that sources name: files, folders (every data file inside, sorted by path) and `-`.
 * @throws UsageError `missing-file`, `missing-data`, `unsupported-data`
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
  if (!facts.isDirectory()) return [describe(path, facts.size)]
  const names = (await readdir(path, { recursive: true })).filter((name) => !/(^|[/\\])\./.test(name)).sort()
  const files = names.map((name) => join(path, name)).filter((file) => isUnread(file) || formatOf(file) !== undefined)
  if (files.length === 0) {
    throw new UsageError(
      'missing-data',
      `The folder ${path} holds no data file (${Object.keys(FORMATS).join(', ')}, compressed or not).`,
    )
  }
  return (await Promise.all(files.map(filesOf))).flat()
}

function describe(path: string, bytes: number): DataFile {
  if (isUnread(path)) {
    const advice = 'convert it to Parquet or JSON lines, or unpack it'
    throw new UsageError('unsupported-data', `${path}: ${extname(path)} files are not read; ${advice}.`)
  }
  const compression = compressionOf(path)
  if (!compression) return { path, format: formatOf(path) ?? 'unknown', bytes }
  refuseUnreadable(compression, path)
  return { path, format: formatOf(path) ?? 'unknown', compression, bytes }
}

function formatOf(path: string): DataFormat | undefined {
  return FORMATS[innerExtension(path)]
}

function isUnread(path: string): boolean {
  return UNREAD.has(innerExtension(path))
}

/** `.jsonl` of `rows.jsonl` and of `rows.jsonl.gz`. */
function innerExtension(path: string): string {
  const inner = compressionOf(path) ? path.slice(0, -extname(path).length) : path
  return extname(inner).toLowerCase()
}

function missing(path: string, cause: unknown): UsageError {
  const isHubId = /^[\w.-]+\/[\w.-]+$/.test(path) && !formatOf(path) && !isUnread(path)
  const hint = isHubId ? '; data sets of the hub come later: download it and give the files' : ''
  return new UsageError('missing-file', `The data ${path} does not exist${hint}.`, { cause })
}
