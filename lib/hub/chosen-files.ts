/** Chooses the files of a repository that make up a model, an adapter or a tokenizer. */
import { join } from 'node:path'
import { UsageError } from '../common/errors.js'
import { pickledAdapter } from '../io/folder-kinds.js'
import { firstGgufPart, ggufParts, ggufTitle } from '../io/gguf-parts.js'
import {
  companionFiles,
  embeddingFiles,
  isIndex,
  quantiserFiles,
  readIndex,
  requireShards,
  weightsAmong,
} from '../io/model-folder.js'
import type { HubId } from './id.js'
import { capital } from './refusals.js'
import type { Snapshot } from './snapshot.js'

export type Wanted = 'model' | 'adapter' | 'tokenizer'

/** The part of a snapshot that an id refers to: a folder (null: all of it), or a GGUF file. */
type RepositoryPlace = string | null

/**
 * Downloads the files of a model, an adapter or a tokenizer.
 * @throws UsageError `file-not-found`, `not-a-model`, `not-an-adapter`, `ambiguous-model`, `unsupported-format`
 */
export async function fetchChosen(wanted: Wanted, id: HubId, snapshot: Snapshot): Promise<RepositoryPlace> {
  const { path, variant } = id
  const inside = new Inside(snapshot, path)
  if (inside.isFile || (variant !== null && wanted !== 'adapter')) return fetchGguf(inside, variant)
  if (variant !== null) throw new UsageError('bad-value', `An adapter has no variant, but ":${variant}" was given.`)
  if (inside.files.length === 0) throw noPlace(inside)
  if (wanted === 'adapter') return fetchAdapter(inside)
  const weights = weightsAmong(inside.files)
  const isThere = wanted === 'tokenizer' ? inside.has('tokenizer.json') : weights !== null
  if (!isThere && inside.ggufs.length > 0) return fetchGguf(inside, null)
  return wanted === 'tokenizer' ? fetchTokenizer(inside) : fetchModel(inside, weights)
}

/** The part of a repository that an id names. */
class Inside {
  /** Paths of all files in the folder, relative to it. */
  readonly files: readonly string[]
  readonly isFile: boolean

  constructor(
    readonly snapshot: Snapshot,
    readonly path: string | null,
  ) {
    const start = path === null ? '' : `${path}/`
    this.isFile = path !== null && snapshot.files.includes(path)
    this.files = snapshot.files.filter((file) => file.startsWith(start)).map((file) => file.slice(start.length))
  }

  has(name: string): boolean {
    return this.files.includes(name)
  }

  /** GGUF files that contain a model; of a split one the first part, whether or not it is there. */
  get ggufs(): string[] {
    const models = this.files.filter((file) => /\.gguf$/i.test(file) && !/(^|\/)(mmproj|imatrix)/i.test(file))
    return [...new Set(models.map(firstGgufPart))].sort()
  }

  get companions(): string[] {
    return this.files.filter((file) => companionFiles.test(file)).sort()
  }

  /** Returns the path in the repository. */
  at(name: string): string {
    return this.path === null ? name : `${this.path}/${name}`
  }

  /** `The model owner/name`, or a folder of it. */
  get name(): string {
    const { name } = this.snapshot
    return capital(this.path === null ? name : `the folder ${this.path} of ${name}`)
  }

  async fetch(names: readonly string[]): Promise<RepositoryPlace> {
    await this.snapshot.fetch(names.map((name) => this.at(name)))
    return this.path
  }
}

/** The configuration is downloaded last, so a folder that has one is complete. */
async function fetchModel(inside: Inside, weights: string | null): Promise<RepositoryPlace> {
  if (!inside.has('config.json') || weights === null) throw noModel(inside)
  const files = isIndex(weights) ? await shardsOf(inside, weights) : [weights]
  const settings = quantiserFiles.filter((name) => inside.has(name))
  const ofEmbeddings = inside.files.filter((file) => embeddingFiles.test(file))
  return inside.fetch([...files, ...inside.companions, ...ofEmbeddings, ...settings, 'config.json'])
}

async function shardsOf(inside: Inside, index: string): Promise<string[]> {
  await inside.fetch([index])
  const shards = [...(await readIndex(join(inside.snapshot.folder, inside.at(index)))).keys()]
  requireShards(inside.name, index, shards, (shard) => inside.has(shard))
  return [...shards, index]
}

function noModel(inside: Inside): UsageError {
  const pickle = inside.files.find((file) => /^pytorch_model.*\.bin$/.test(file))
  if (pickle !== undefined) {
    return new UsageError(
      'unsupported-format',
      `${inside.name} has its weights as ${pickle}, a pickle that this package does not read: convert it to safetensors.`,
    )
  }
  const hint = inside.has('adapter_config.json')
    ? '; it holds an adapter: give it as the adapter, beside its base model'
    : elsewhere(inside, 'config.json')
  return new UsageError('not-a-model', `${inside.name} has no config.json with safetensors, and no .gguf file${hint}.`)
}

function fetchAdapter(inside: Inside): Promise<RepositoryPlace> {
  const names = ['adapter_model.safetensors', 'adapter_config.json']
  const missing = names.filter((name) => !inside.has(name))
  if (missing.length === 0) return inside.fetch(names)
  const hint = inside.has('adapter_model.bin') ? ` but ${pickledAdapter}` : elsewhere(inside, 'adapter_config.json')
  throw new UsageError('not-an-adapter', `${inside.name} has no ${missing.join(' and no ')}${hint}.`)
}

function fetchTokenizer(inside: Inside): Promise<RepositoryPlace> {
  const names = inside.companions
  if (names.length > 0) return inside.fetch(names)
  throw new UsageError('file-not-found', `${inside.name} has no tokenizer files.`)
}

/** Downloads the only GGUF file, or the one of a quantisation (`Q4_K_M`), in upper or lower case. */
async function fetchGguf(inside: Inside, variant: string | null): Promise<RepositoryPlace> {
  const { snapshot, path } = inside
  if (inside.isFile) {
    if (variant === null && /\.gguf$/i.test(path!)) return fetchFile(inside, path!)
    throw new UsageError(
      'not-a-model',
      `Expected a .gguf file or a folder, but ${path} of ${snapshot.name} is neither.`,
    )
  }
  const { ggufs } = inside
  const fitting = variant === null ? ggufs : ggufs.filter((file) => isVariant(file, variant))
  const [only, second] = fitting
  if (only !== undefined && second === undefined) return fetchFile(inside, inside.at(only))
  if (ggufs.length === 0) throw new UsageError('file-not-found', `${inside.name} has no .gguf file.`)
  const { repository } = snapshot.subject
  const has = fitting.length === 0 ? `no .gguf file of ${variant}` : `${fitting.length} .gguf files`
  const list = ggufs.map((file) => inside.at(file)).join(', ')
  throw new UsageError(
    'ambiguous-model',
    `${inside.name} has ${has}: name one, as ${repository}/FILE.gguf or ${repository}:Q4_K_M; there are ${list}.`,
  )
}

/** Downloads a file, or all parts of a split one, and returns its first part. */
async function fetchFile(inside: Inside, file: string): Promise<RepositoryPlace> {
  const { snapshot } = inside
  const parts = ggufParts(file) ?? [file]
  if (parts.length > 1) requireShards(inside.name, file, parts, (part) => snapshot.files.includes(part))
  await snapshot.fetch(parts)
  return parts[0]!
}

function isVariant(file: string, variant: string): boolean {
  const words = ggufTitle(file).toLowerCase()
  const wanted = variant.toLowerCase()
  return words === wanted || ['-', '.', '_'].some((mark) => words.endsWith(`${mark}${wanted}`))
}

/** Returns a hint that lists folders with the missing file. */
function elsewhere({ files, snapshot }: Inside, name: string): string {
  const folders = files.filter((file) => file.endsWith(`/${name}`)).map((file) => file.slice(0, -name.length - 1))
  if (folders.length === 0) return ''
  return `; a folder of it is given as ${snapshot.subject.repository}/FOLDER: ${folders.slice(0, 10).join(', ')}`
}

function noPlace({ path, snapshot }: Inside): UsageError {
  const list = snapshot.files.slice(0, 20).join(', ')
  return new UsageError(
    'file-not-found',
    path === null
      ? `${capital(snapshot.name)} is empty.`
      : `${capital(snapshot.name)} has no file or folder ${path}; it has ${list}.`,
  )
}
