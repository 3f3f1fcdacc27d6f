/** Finds and downloads the files of a data set of the hub. */
import { join } from 'node:path'
import { UsageError } from '../../common/errors.js'
import { capital, formatHubId, type HubId, Snapshot, type SnapshotOptions } from '../../hub/index.js'
import { readText } from '../../io/open.js'
import { type DataFormat, dataFormat, refuseUnread } from './formats.js'
import { configurationsOf, type DataConfiguration, type Splits, splitsOf } from './splits.js'

/** Purpose of the rows, which determines the default split. */
export type DataPurpose = 'training' | 'evaluation' | 'validation'

const PREFERRED: Record<DataPurpose, readonly string[]> = {
  training: ['train'],
  evaluation: ['test', 'validation'],
  validation: ['validation', 'test'],
}

export interface HubData {
  /** Local paths, in order. */
  readonly files: readonly string[]
  /** The id with its commit and split, which always names the same rows. */
  readonly reference: string
}

/**
 * Downloads the files of one split, or of the file or folder that the id names.
 * @throws UsageError `file-not-found`, `missing-data`, `ambiguous-data`, and what `Snapshot` throws
 */
export async function fetchHubData(id: HubId, purpose: DataPurpose, options: SnapshotOptions): Promise<HubData> {
  const snapshot = await Snapshot.open('dataset', id, options)
  const { files, variant } = await chosen(id, purpose, snapshot)
  for (const file of files) refuseUnread(file)
  await snapshot.fetch(files)
  return {
    files: files.map((file) => join(snapshot.folder, file)),
    reference: formatHubId({ ...id, revision: snapshot.commit, variant }),
  }
}

interface Chosen {
  readonly files: readonly string[]
  readonly variant: string | null
}

async function chosen(id: HubId, purpose: DataPurpose, snapshot: Snapshot): Promise<Chosen> {
  const { path, variant } = id
  if (path !== null && snapshot.files.includes(path)) {
    if (variant === null) return { files: [path], variant }
    throw new UsageError(
      'bad-value',
      `${path} of ${snapshot.name} is a file and has no split, but ":${variant}" was given.`,
    )
  }
  const configuration = await configurationOf(id, snapshot)
  return chooseSplit(configuration, purpose, snapshot)
}

/** A configuration, and the requested split of it; null if none is named. */
interface RequestedSplit {
  readonly name: string | null
  readonly splits: Splits
  readonly split: string | null
}

async function configurationOf({ path, variant }: HubId, snapshot: Snapshot): Promise<RequestedSplit> {
  const configurations = path === null ? await described(snapshot) : []
  const [first = null, second = null] = variant?.split(':') ?? []
  if (configurations.length === 0) {
    if (second !== null) throw noConfiguration(first, [], snapshot)
    return { name: null, splits: splitsInside(path, snapshot), split: first }
  }
  const usual =
    configurations.find(({ isDefault }) => isDefault) ?? (configurations.length === 1 ? configurations[0] : null)
  if (usual && second === null) {
    // One word names a split of the default configuration, or else a configuration.
    const splits = usual.splits()
    if (first === null || splits.has(first)) return { name: usual.name, splits, split: first }
  }
  const named = configurations.find(({ name }) => name === first)
  if (!named) throw noConfiguration(first, configurations, snapshot)
  return { name: named.name, splits: named.splits(), split: second }
}

/** Returns the splits of the files in a folder of the repository, or of all files. */
function splitsInside(path: string | null, snapshot: Snapshot): Splits {
  const start = path === null ? '' : `${path}/`
  const inside = snapshot.files.filter((file) => file.startsWith(start)).map((file) => file.slice(start.length))
  const splits = splitsOf(dataFilesOf(inside, path, snapshot))
  return new Map([...splits].map(([name, files]) => [name, files.map((file) => `${start}${file}`)]))
}

async function described(snapshot: Snapshot): Promise<DataConfiguration[]> {
  const card = 'README.md'
  if (!snapshot.files.includes(card)) return []
  await snapshot.fetch([card])
  const text = await readText(join(snapshot.folder, card))
  return configurationsOf(text, snapshot.files, `The ${card} of ${snapshot.name}`)
}

function chooseSplit({ name, splits, split }: RequestedSplit, purpose: DataPurpose, snapshot: Snapshot): Chosen {
  const names = [...splits.keys()]
  const usual =
    PREFERRED[purpose].find((preferred) => splits.has(preferred)) ?? (names.length === 1 ? names[0] : undefined)
  const wanted = split ?? usual
  const files = wanted === undefined ? undefined : splits.get(wanted)
  const whole = name === null ? snapshot.name : `the configuration ${name} of ${snapshot.name}`
  if (files === undefined || files.length === 0) {
    const problem = wanted === undefined ? 'several splits and no default among them' : `no split "${wanted}"`
    const example = [snapshot.subject.repository, name, names[0] ?? 'train'].filter((part) => part !== null).join(':')
    throw new UsageError(
      'ambiguous-data',
      `${capital(whole)} has ${problem}: name one, as ${example}; there are ${names.join(', ') || 'none'}.`,
    )
  }
  return { files, variant: [name, wanted].filter((part) => part !== null).join(':') }
}

/** Files that have the ending of data but are none. */
const NO_DATA =
  /(^|\/)(\.|(readme|license|licence|notice|requirements)\b[^/]*$|(config|dataset_infos?|dataset_dict)\.json$)/i

/** Returns the files of the most frequent format, as `datasets` does: others are meant for people. */
function dataFilesOf(files: readonly string[], path: string | null, snapshot: Snapshot): string[] {
  const byFormat = new Map<DataFormat, string[]>()
  for (const file of files) {
    const format = NO_DATA.test(file) ? undefined : dataFormat(file)
    if (format) byFormat.set(format, [...(byFormat.get(format) ?? []), file])
  }
  const [most] = [...byFormat.values()].sort((a, b) => b.length - a.length)
  if (most) return most
  if (files.length === 0) {
    const list = snapshot.files.slice(0, 20).join(', ')
    throw new UsageError('file-not-found', `${capital(snapshot.name)} has no file or folder ${path}; it has ${list}.`)
  }
  const { repository } = snapshot.subject
  throw new UsageError(
    'missing-data',
    `${capital(snapshot.name)} has no file of rows that is read here: try the hub's own Parquet form of it, ${repository}@refs/convert/parquet.`,
  )
}

function noConfiguration(given: string | null, known: readonly DataConfiguration[], snapshot: Snapshot): UsageError {
  const names = known.map(({ name }) => name)
  const { repository } = snapshot.subject
  const problem = given === null ? 'several configurations' : `no configuration or split "${given}"`
  const way =
    names.length === 0
      ? 'name a split or a folder'
      : `name one, as ${repository}:${names[0]}; there are ${names.join(', ')}`
  return new UsageError('ambiguous-data', `${capital(snapshot.name)} has ${problem}: ${way}.`)
}
