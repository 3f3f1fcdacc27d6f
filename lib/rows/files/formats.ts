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

/** Texts beside `.txt`: prose and sources of programs. */
const TEXTS = new Set(
  [
    'md markdown rst adoc org tex py pyi ipy js mjs cjs jsx ts mts cts tsx java kt scala groovy c h cc cpp cxx hh hpp cu cuh',
    'cs fs go rs swift m mm rb php pl pm lua r jl hs ml mli ex exs erl clj cljs lisp el scm dart zig nim d f f90 asm s v sv',
    'vhd sh bash zsh fish ps1 bat sql graphql proto html htm css scss less vue svelte cmake gradle tf jinja',
  ].flatMap((names) => names.split(' ').map((name) => `.${name}`)),
)

/** Endings of supported files. */
export const DATA_ENDINGS: readonly string[] = Object.keys(FORMATS)

export function dataFormat(path: string): DataFormat | undefined {
  return FORMATS[extensionOf(path)]
}

export function isUnread(path: string): boolean {
  return UNREAD.has(extensionOf(path))
}

/** Tells whether a file is named like prose or the source of a program. */
export function isText(path: string): boolean {
  return TEXTS.has(extensionOf(path))
}

/** @throws UsageError `unsupported-data` */
export function refuseUnread(path: string): void {
  if (!isUnread(path)) return
  const advice = 'convert it to Parquet or JSON lines, or unpack it'
  throw new UsageError('unsupported-data', `${path}: ${extname(path)} files are not read; ${advice}.`)
}

/** Returns `.jsonl` for `rows.jsonl` and `rows.jsonl.gz`. */
export function extensionOf(path: string): string {
  const inner = compressionOf(path) ? path.slice(0, -extname(path).length) : path
  return extname(inner).toLowerCase()
}
