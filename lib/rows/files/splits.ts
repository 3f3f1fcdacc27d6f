/**
 * The splits (train, test, …) of a data set of the hub, by the rules of Hugging Face's `datasets`: those in its card, else
 * those in the names of files and folders.
 */
import { basename, dirname } from 'node:path'
import { InputError } from '../../common/errors.js'
import { isJsonObject } from '../../io/json.js'
import { parseYaml } from '../../io/yaml.js'
import { matchesGlob } from './glob.js'

/** Files by split, each list sorted. */
export type Splits = ReadonlyMap<string, readonly string[]>

/** A part of a data set that is read separately, such as a language. */
export interface DataConfiguration {
  readonly name: string
  readonly isDefault: boolean
  /** Computed on demand, since there may be hundreds of configurations. */
  splits(): Splits
}

const KEYWORDS: readonly (readonly [split: string, words: string])[] = [
  ['train', 'train|training'],
  ['validation', 'validation|valid|dev|val'],
  ['test', 'test|testing|eval|evaluation'],
]

/** `train_sft-00000-of-00003.parquet` */
const SHARD = /^(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*$/

/**
 * Finds splits by the names of files; if no name tells, all files are `train`. The first of these rules that finds something
 * counts: names of shards in `data/`, words in names of files, words in names of folders.
 */
export function splitsOf(files: readonly string[]): Splits {
  const ways = [shardSplit, (file: string) => wordSplit(basename(file)), (file: string) => folderSplit(dirname(file))]
  for (const way of ways) {
    const found = groups(files, way)
    if (found.size > 0) return found
  }
  return files.length === 0 ? new Map() : new Map([['train', files.toSorted()]])
}

function shardSplit(file: string): string | null {
  return file.startsWith('data/') ? (SHARD.exec(file.slice('data/'.length))?.[1] ?? null) : null
}

/** Finds a split's name as a word, between ends, digits and ` . _ -`. */
function wordSplit(name: string): string | null {
  const found = KEYWORDS.find(([, words]) => new RegExp(`(^|[ ._\\d-])(${words})([ ._\\d-]|$)`, 'i').test(name))
  return found?.[0] ?? null
}

function folderSplit(folder: string): string | null {
  for (const name of folder.split('/')) {
    const split = wordSplit(name)
    if (split !== null) return split
  }
  return null
}

function groups(files: readonly string[], nameOf: (file: string) => string | null): Map<string, string[]> {
  const found = new Map<string, string[]>()
  for (const file of files.toSorted()) {
    const name = nameOf(file)
    if (name !== null) found.set(name, [...(found.get(name) ?? []), file])
  }
  return found
}

/**
 * Returns the configurations that the YAML at the head of a card (README.md) describes; empty if there are none.
 * @param files of the repository, which patterns select
 * @param source names the card in errors
 * @throws InputError `malformed-file`
 */
export function configurationsOf(card: string, files: readonly string[], source: string): DataConfiguration[] {
  const head = /^\ufeff?---[ \t]*\r?\n(.*?\r?\n)---[ \t]*(\r?\n|$)/s.exec(card)?.[1]
  if (head === undefined) return []
  let content: unknown
  try {
    content = parseYaml(head)
  } catch (cause) {
    throw new InputError(
      'malformed-file',
      `${source} is malformed: its head is not YAML (${(cause as Error).message}).`,
      { cause },
    )
  }
  const configs = isJsonObject(content) && Array.isArray(content.configs) ? content.configs.filter(isJsonObject) : []
  return configs.map((config) => ({
    name: typeof config.config_name === 'string' ? config.config_name : 'default',
    isDefault: config.default === true || config.config_name === undefined || config.config_name === 'default',
    splits: () => describedSplits(config, files),
  }))
}

function describedSplits(config: Record<string, unknown>, files: readonly string[]): Splits {
  const folder = typeof config.data_dir === 'string' ? `${config.data_dir.replace(/^\.?\/|\/$/g, '')}/` : ''
  const inside = files.filter((file) => file.startsWith(folder))
  const matching = (patterns: unknown) => {
    const globs = strings(patterns).map((pattern) => `${folder}${pattern.replace(/^\.?\//, '')}`)
    return inside.filter((file) => globs.some((glob) => matchesGlob(file, glob))).sort()
  }
  const { data_files: described } = config
  if (described === undefined) return splitsOf(inside)
  const entries = Array.isArray(described) ? described.filter(isJsonObject) : []
  if (entries.length === 0) return new Map([['train', matching(described)]])
  return new Map(entries.map(({ split, path }) => [typeof split === 'string' ? split : 'train', matching(path)]))
}

function strings(value: unknown): string[] {
  return [value].flat().filter((entry) => typeof entry === 'string')
}
