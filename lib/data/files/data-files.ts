/** The files that a source names, with their formats. */
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { UsageError } from '../../common/errors.js'
import { type HubOptions, hubIdOf } from '../../hub/index.js'
import { type Compression, compressionOf, refuseUnreadable } from './decompress.js'
import { DATA_ENDINGS, type DataFormat, dataFormat, isUnread, refuseUnread } from './formats.js'
import { type DataPurpose, fetchHubData, type HubData } from './hub-data.js'

export type { DataPurpose } from './hub-data.js'

/** A file to read and how; `-` is standard input. */
export interface DataFile {
  path: string
  format: DataFormat
  /** From its name: `rows.jsonl.gz`. */
  compression?: Compression
  bytes: number
}

export interface FindOptions extends HubOptions {
  /** What the rows are for, which determines the default split of a data set of the hub; default training. */
  purpose?: DataPurpose
}

/**
 * Finds the files that sources name: files, folders (every data file inside, sorted by path), ids of the hub and `-`.
 * @throws UsageError `missing-file`, `not-a-file`, `missing-data`, `unsupported-data`, and what the hub refuses
 */
export async function findDataFiles(
  source: string | readonly string[],
  options: FindOptions = {},
): Promise<DataFile[]> {
  const sources = typeof source === 'string' ? [source] : source
  if (sources.length === 0)
    throw new UsageError('missing-data', 'No data was named; give a file, a folder, an id or -.')
  return (await Promise.all((await locateAllData(sources, options)).map(filesOf))).flat()
}

/**
 * Returns the local paths of a source, and a permanent name of its rows. Downloads data of the hub that is not in the cache. A
 * path is returned unchanged, whether or not it exists.
 */
export async function locateData(
  source: string,
  { purpose = 'training', ...options }: FindOptions = {},
): Promise<HubData> {
  const id = source === '-' ? null : hubIdOf(source)
  return id ? fetchHubData(id, purpose, options) : { files: [source], reference: source }
}

/** Returns the local paths of several sources. */
async function locateAllData(sources: readonly string[], options: FindOptions = {}): Promise<string[]> {
  const located: string[] = []
  for (const source of sources) located.push(...(await locateData(source, options)).files)
  return located
}

async function filesOf(path: string): Promise<DataFile[]> {
  if (path === '-') return [{ path, format: 'unknown', bytes: 0 }]
  const facts = await stat(path).catch((cause) => {
    throw missing(path, cause)
  })
  if (facts.isFile()) return [describe(path, facts.size)]
  if (!facts.isDirectory())
    throw new UsageError(
      'not-a-file',
      `${path} is not a regular file; what comes through a pipe is read from standard input, which is named -.`,
    )
  const names = (await readdir(path, { recursive: true })).filter((name) => !/(^|[/\\])\./.test(name)).sort()
  const files = names.map((name) => join(path, name)).filter((file) => isUnread(file) || dataFormat(file) !== undefined)
  if (files.length === 0) {
    throw new UsageError(
      'missing-data',
      `The folder ${path} holds no data file (${DATA_ENDINGS.join(', ')}, compressed or not).`,
    )
  }
  return (await Promise.all(files.map(filesOf))).flat()
}

function describe(path: string, bytes: number): DataFile {
  refuseUnread(path)
  const compression = compressionOf(path)
  if (!compression) return { path, format: dataFormat(path) ?? 'unknown', bytes }
  refuseUnreadable(compression, path)
  return { path, format: dataFormat(path) ?? 'unknown', compression, bytes }
}

function missing(path: string, cause: unknown): UsageError {
  return new UsageError(
    'missing-file',
    `The data ${path} does not exist; expected a file, a folder, or a hub id, which is owner/name.`,
    { cause },
  )
}
