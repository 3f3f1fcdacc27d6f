/** The files that a source names, with their formats. */
import type { Stats } from 'node:fs'
import { stat } from 'node:fs/promises'
import { UsageError } from '../../common/errors.js'
import { inParallel } from '../../common/task-limit.js'
import { type HubOptions, hubIdOf } from '../../hub/index.js'
import { type Compression, compressionOf, refuseUnreadable } from './decompress.js'
import { folderFiles } from './folder-files.js'
import { type DataFormat, dataFormat, isText, refuseUnread } from './formats.js'
import { type DataPurpose, fetchHubData, type HubData } from './hub-data.js'

export type { DataPurpose } from './hub-data.js'

/** A file to read and how; `-` is standard input. */
export interface DataFile {
  path: string
  format: DataFormat
  /** The compression that the file's name states: `rows.jsonl.gz`. */
  compression?: Compression
  bytes: number
}

export interface FindOptions extends HubOptions {
  /** Purpose of the rows, which determines the default split of a data set of the hub; default training. */
  purpose?: DataPurpose
  /**
   * Extensions of the files to read in a folder, such as `.py`, or `all` for every known text file; by default the data files,
   * or the text files if there are none.
   */
  extensions?: readonly string[]
}

/**
 * Finds the files that sources name: files, folders (their data files or texts, sorted by path), ids of the hub and `-`.
 * @throws UsageError `missing-file`, `not-a-file`, `missing-data`, `unsupported-data`, and what the hub refuses
 */
export async function findDataFiles(
  source: string | readonly string[],
  options: FindOptions = {},
): Promise<DataFile[]> {
  const sources = typeof source === 'string' ? [source] : source
  if (sources.length === 0)
    throw new UsageError('missing-data', 'No data was named; give a file, a folder, an id or -.')
  const located = await locateAllData(sources, options)
  return (await Promise.all(located.map((path) => filesOf(path, options)))).flat()
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

const FILES_AT_ONCE = 16

async function filesOf(path: string, { extensions, onWarning }: FindOptions): Promise<DataFile[]> {
  if (path === '-') return [{ path, format: 'unknown', bytes: 0 }]
  const facts = await factsOf(path)
  if (facts.isFile()) return [describe(path, facts.size)]
  if (!facts.isDirectory())
    throw new UsageError('not-a-file', `${path} is not a regular file; pass a pipe as standard input, and name it -.`)
  const files = await folderFiles(path, extensions, onWarning)
  return inParallel(files, FILES_AT_ONCE, async (file) => describe(file, (await factsOf(file)).size, 'text'))
}

async function factsOf(path: string): Promise<Stats> {
  return stat(path).catch((cause) => {
    throw missing(path, cause)
  })
}

/** @param otherwise the format of a file that is not named like one with a known format */
function describe(path: string, bytes: number, otherwise: DataFormat = 'unknown'): DataFile {
  refuseUnread(path)
  const compression = compressionOf(path)
  const format = dataFormat(path) ?? (isText(path) ? 'text' : otherwise)
  if (!compression) return { path, format, bytes }
  refuseUnreadable(compression, path)
  return { path, format, compression, bytes }
}

function missing(path: string, cause: unknown): UsageError {
  return new UsageError(
    'missing-file',
    `The data ${path} does not exist; expected a file, a folder, or a hub id, which is owner/name.`,
    { cause },
  )
}
