/** Formats of data files by their names. */
import { extname } from 'node:path'
import { UsageError } from '../../common/errors.js'
import { compressionOf } from './decompress.js'

/** The format of a file's records; `unknown` is determined from its content. */
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

/** Data that other tools read. Skipping it in a folder would train on only a part of the folder's data. */
const UNREAD = new Set(
  ['arrow', 'feather', 'orc', 'avro', 'xlsx', 'zip', 'tar', 'tgz', 'bz2', 'xz', '7z'].map((name) => `.${name}`),
)

/** Endings of supported files. */
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

/** Returns `.jsonl` for `rows.jsonl` and `rows.jsonl.gz`. */
function innerExtension(path: string): string {
  const inner = compressionOf(path) ? path.slice(0, -extname(path).length) : path
  return extname(inner).toLowerCase()
}
