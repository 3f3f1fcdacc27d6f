/** What the name of a data file says about its content. */
import { extname } from 'node:path'
import { UsageError } from '../../common/errors.js'
import { compressionOf } from './decompress.js'

/** How a file's records are written; `unknown` is found out from its content. */
export type DataFormat = 'lines' | 'json' | 'text' | 'csv' | 'tsv' | 'parquet' | 'unknown'

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

/** Endings of files that are read. */
export const DATA_ENDINGS: readonly string[] = Object.keys(FORMATS)

export function dataFormat(path: string): DataFormat | undefined {
  return FORMATS[innerExtension(path)]
}

export function isUnread(path: string): boolean {
  return UNREAD.has(innerExtension(path))
}

/** @throws UsageError `unsupported-data` */
export function refuseUnread(path: string): void {
  if (!isUnread(path)) return
  const advice = 'convert it to Parquet or JSON lines, or unpack it'
  throw new UsageError('unsupported-data', `${path}: ${extname(path)} files are not read; ${advice}.`)
}

/** `.jsonl` of `rows.jsonl` and of `rows.jsonl.gz`. */
function innerExtension(path: string): string {
  const inner = compressionOf(path) ? path.slice(0, -extname(path).length) : path
  return extname(inner).toLowerCase()
}
