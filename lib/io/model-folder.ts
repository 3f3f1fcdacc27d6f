import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { quoted, UsageError } from '../common/errors.js'
import { isJsonObject, readJsonObject } from './json.js'
import { malformed } from './open.js'
import { staysInside } from './paths.js'
import { indexName, readSafetensorsHeader, singleName } from './safetensors.js'
import type { TensorLocation } from './stored-dtype.js'

/** AutoGPTQ's file names, such as gptq_model-4bit-128g.safetensors. */
const gptqName = /^gptq_model-[^/]*\.safetensors(\.index\.json)?$/

/** Returns the file with a folder's tensors, or the index that lists their shards; null if there is none, or several to choose from. */
export function weightsAmong(files: readonly string[]): string | null {
  const own = [singleName, indexName].find((name) => files.includes(name))
  if (own !== undefined) return own
  const others = files.filter((name) => gptqName.test(name))
  const index = others.find(isIndex)
  return index ?? (others.length === 1 ? others[0]! : null)
}

/** Whether a file lists shards. */
export const isIndex = (file: string): boolean => file.endsWith('.index.json')

/**
 * Returns the locations of a model folder's tensors: in `model.safetensors`, in the shards that `model.safetensors.index.json`
 * lists, or in files with AutoGPTQ's names.
 * @throws UsageError `missing-file` that names every missing shard, or says what the folder has instead
 * @throws InputError `malformed-file`, also if a shard lacks tensors that the index puts there
 */
export async function readModelFolder(folder: string): Promise<Map<string, TensorLocation>> {
  const files = await readdir(folder).catch((): string[] => [])
  const weights = weightsAmong(files)
  if (weights) {
    const path = join(folder, weights)
    return isIndex(weights) ? readShards(path, await readIndex(path)) : (await readSafetensorsHeader(path)).tensors
  }
  throw new UsageError(
    'missing-file',
    `${folder} has neither ${singleName} nor ${indexName}${otherFormat(folder, files)}.`,
  )
}

/** Names of files beside a model's weights: of its tokenizer, its generation settings and what prepares images and sounds. */
export const companionFiles =
  /^(tokenizer[^/]*|special_tokens_map\.json|vocab\.(json|txt)|merges\.txt|added_tokens\.json|tekken\.json|chat_template[^/]*|additional_chat_templates\/[^/]+\.jinja|generation_config\.json|((video_)?pre)?processor_config\.json)$/

/** Folders with parts of a model. */
export const modelFolders = /^(additional_chat_templates|\d+_[A-Za-z]\w*)$/

/** Paths of the files by which sentence-transformers makes embeddings of a model's states. */
export const embeddingFiles =
  /^(modules\.json|config_sentence_transformers\.json|sentence_[a-z]+_config\.json|\d+_[A-Za-z]\w*\/(config\.json|model\.safetensors|pytorch_model\.bin))$/

const modelFiles = /^(config\.json|model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json)$/

/** Whether a file of a folder belongs to the model in it. */
export const isModelFile = (file: string): boolean =>
  [modelFiles, companionFiles, embeddingFiles, gptqName].some((names) => names.test(file)) ||
  quantiserFiles.includes(file)

/** Names of AutoGPTQ's and AutoAWQ's files with quantisation settings, for models whose configuration has none. */
export const quantiserFiles: readonly string[] = ['quantize_config.json', 'quant_config.json']

/** Reads an index: tensor names by shard, in its order. */
export async function readIndex(path: string): Promise<Map<string, string[]>> {
  const { weight_map: weightMap } = await readJsonObject(path, { uniqueKeys: true })
  if (!isJsonObject(weightMap)) throw malformed(path, 'it has no object weight_map')
  const shards = new Map<string, string[]>()
  for (const [tensor, shard] of Object.entries(weightMap)) {
    if (typeof shard !== 'string' || !staysInside(shard)) {
      throw malformed(path, `it puts ${quoted(tensor)} into ${quoted(shard)}, which is no file of this folder`)
    }
    const tensors = shards.get(shard)
    if (tensors) tensors.push(tensor)
    else shards.set(shard, [tensor])
  }
  if (shards.size === 0) throw malformed(path, 'its weight_map is empty')
  return shards
}

async function readShards(index: string, shards: Map<string, string[]>): Promise<Map<string, TensorLocation>> {
  const [folder, name] = [dirname(index), basename(index)]
  requireShards(folder, name, [...shards.keys()], (shard) => existsSync(join(folder, shard)))
  const locations = new Map<string, TensorLocation>()
  for (const [shard, names] of shards) {
    const { path, tensors } = await readSafetensorsHeader(join(folder, shard))
    const absent = names.filter((name) => !tensors.has(name))
    if (absent.length > 0) throw malformed(path, `${name} puts tensors there that it lacks: ${listSome(absent)}`)
    for (const name of names) locations.set(name, tensors.get(name)!)
  }
  return locations
}

/**
 * Checks that the shards of an index are there.
 * @param place of the index, at the start of a sentence
 * @throws UsageError `missing-file` that names every missing shard
 */
export function requireShards(
  place: string,
  index: string,
  shards: readonly string[],
  isThere: (shard: string) => boolean,
): void {
  const missing = shards.filter((shard) => !isThere(shard))
  if (missing.length === 0) return
  throw new UsageError(
    'missing-file',
    `${place} lacks ${missing.length} of ${shards.length} files that ${index} lists: ${missing.join(', ')}.`,
  )
}

/** Lists names for a sentence, at most ten of them. */
export function listSome(names: readonly string[]): string {
  const shown = names.slice(0, 10).join(', ')
  return names.length > 10 ? `${shown} and ${names.length - 10} more` : shown
}

function otherFormat(folder: string, files: readonly string[]): string {
  if (!existsSync(folder)) return ': the folder does not exist'
  const ofGptq = files.filter((name) => gptqName.test(name)).sort()
  if (ofGptq.length > 0) return ` but ${ofGptq.join(' and ')}: a single one of these was expected`
  const pickle = ['pytorch_model.bin', 'pytorch_model.bin.index.json'].find((name) => files.includes(name))
  if (pickle) return ` but ${pickle}, a pickle that this package does not read: convert it to safetensors`
  return files.includes('adapter_model.safetensors') ? ': it is the folder of an adapter, not of a model' : ''
}

/** Returns the paths of a model's files in a folder and in the folders of its parts. */
export async function modelFilesIn(folder: string): Promise<string[]> {
  const found: string[] = []
  for (const entry of await readdir(folder)) {
    const inside = modelFolders.test(entry) ? await readdir(join(folder, entry)).catch((): string[] => []) : []
    found.push(...[entry, ...inside.map((name) => `${entry}/${name}`)].filter(isModelFile))
  }
  return found
}
