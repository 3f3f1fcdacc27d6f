/** Reads the configuration and tensor locations of a checkpoint: a folder with safetensors, or a GGUF file. */
import { join } from 'node:path'
import { UsageError } from '../../common/errors.js'
import { readModelGguf } from '../../io/gguf-parts.js'
import { readForeignJson } from '../../io/json.js'
import { readModelFolder } from '../../io/model-folder.js'
import type { TensorLocation } from '../../io/stored-dtype.js'
import { type NativeFile, native } from '../../native/addon.js'
import { configFromGguf, ggufFamily } from '../families/gguf-config.js'
import { parseConfig } from '../families/parse-config.js'
import { ggufShape, ggufTensors, huggingFaceName, ropeFactorsName } from '../gguf/names.js'
import type { ModelConfig } from '../network/model-config.js'
import { normsOf, transposedWeights, weightShapes } from '../network/plan.js'
import { withGgufLora } from './added-lora.js'
import { FileTensor, float32In } from './file-tensor.js'
import { quantisedWeights, quantiserSettings } from './formats/index.js'
import { JoinedRows } from './joined-rows.js'
import { noEmbeddingSettings, readEmbeddingSettings } from './sentence-transformers.js'
import type { OpenFile, StoredWeight } from './stored-weight.js'

/** The content of a checkpoint's files, without tensor values. */
export interface Contents {
  readonly format: 'folder' | 'gguf'
  readonly config: ModelConfig
  /** By Hugging Face's names. */
  readonly weights: ReadonlyMap<string, StoredWeight>
  readonly spelling: Spelling
  /** `quantization_config`, which says how to read quantised weights; null if there is none. */
  readonly quantisation: unknown
  /** Settings of sentence-transformers for embeddings. */
  readonly embeddings: typeof noEmbeddingSettings
}

/** Prefixes of names in a checkpoint's files, with the model's own prefixes. */
type Prefixes = readonly (readonly [inFile: string, inModel: string])[]

/** Translates between the names of a checkpoint's tensors and the model's: a checkpoint is written back under its own names. */
export class Spelling {
  constructor(readonly prefixes: Prefixes = []) {}

  inModel(name: string): string {
    const [from, to] = this.prefixes.find(([prefix]) => name.startsWith(prefix)) ?? ['', '']
    return to + name.slice(from.length)
  }

  inFile(name: string): string {
    const [to, from] = this.prefixes.find(([, prefix]) => name.startsWith(prefix)) ?? ['', '']
    return to + name.slice(from.length)
  }

  /** Finds the spelling of a checkpoint's names. */
  static of(names: { has(name: string): boolean }, { network, text }: ModelConfig): Spelling {
    const { basePrefix, embeddings, head } = network
    const has = (module: string) => names.has(`${module}.weight`)
    if (has(embeddings)) return new Spelling()
    const within = 'language_model.'
    if (text && has(within + text.network.embeddings)) {
      return new Spelling([
        [within + text.network.basePrefix, basePrefix],
        [within + head, head],
      ])
    }
    // Checkpoints of a network without its head lack the prefix.
    if (!has(embeddings.slice(basePrefix.length))) return new Spelling()
    return new Spelling([
      [head, head],
      ['', basePrefix],
    ])
  }
}

/** Keeps files open between reads. */
export class OpenFiles {
  readonly #files = new Map<string, NativeFile>()

  readonly open: OpenFile = (path) => {
    const known = this.#files.get(path)
    if (known) return known
    const file = native.openFile(path)
    this.#files.set(path, file)
    return file
  }

  close(): void {
    for (const file of this.#files.values()) file.close()
    this.#files.clear()
  }
}

export async function readFolder(path: string, onWarning?: (message: string) => void): Promise<Contents> {
  const configPath = join(path, 'config.json')
  const json = await readForeignJson(configPath)
  const { quantization_config: inConfig } = json
  delete json.quantization_config
  const parsed = parseConfig(json, configPath, onWarning)
  const stored = await readModelFolder(path)
  const { config, spelling } = spelled(parsed, stored)
  const { settings: quantisation, path: settingsPath } = await quantiserSettings(
    configPath,
    inConfig,
    stored,
    onWarning,
  )
  const tensors = new Map([...stored].map(([name, location]) => [spelling.inModel(name), location]))
  const transposed = transposedWeights(config.network)
  if (quantisation !== null && config.network.transposedLinears) {
    throw new UsageError(
      'unsupported-option',
      `${settingsPath}: quantization_config is not supported for ${config.architecture}, whose weights are stored transposed.`,
    )
  }
  const files = new OpenFiles()
  try {
    const quantised = quantisation === null ? null : quantisedWeights(quantisation, settingsPath, tensors, files.open)
    const weights = new Map<string, StoredWeight>()
    for (const [name, location] of quantised?.others ?? tensors)
      weights.set(name, new FileTensor({ ...location, name }, { transposed: transposed.has(name) }))
    for (const weight of quantised?.weights ?? []) weights.set(weight.name, weight)
    const embeddings = await readEmbeddingSettings(path)
    return { format: 'folder', config, weights, spelling, quantisation, embeddings }
  } finally {
    files.close()
  }
}

/**
 * Returns the spelling of a checkpoint's names, and its configuration: a wrapped text model's head is not tied, whatever the
 * configuration says, where the file has one, as in transformers.
 */
function spelled(config: ModelConfig, stored: ReadonlyMap<string, TensorLocation>) {
  const spelling = Spelling.of(stored, config)
  const { text, network } = config
  if (!text || !stored.has(spelling.inFile(`${network.head}.weight`))) return { config, spelling }
  const tiedEmbeddings = false
  return { spelling, config: { ...config, tiedEmbeddings, text: { ...text, tiedEmbeddings } } }
}

/** Whether a tensor is of a layer after the last, which predicts more tokens. */
function isBeyond(ggufName: string, layers: number): boolean {
  return Number(/^blk\.(\d+)\./.exec(ggufName)?.[1] ?? -1) >= layers
}

/** @param adapters GGUF files of LoRA adapters, which are added to the weights */
export async function readGgufFile(path: string, adapters: readonly string[] = []): Promise<Contents> {
  const file = await readModelGguf(path)
  const factors = file.tensors.get(ropeFactorsName)
  const { gguf } = ggufFamily(file)
  const { names, layout, addsOffsets } = gguf
  const config = parseConfig(configFromGguf(file, factors && float32In(factors)), path)
  const shapes = weightShapes(config)
  const offsets = new Map(normsOf(config.network).map(({ name, weightOffset }) => [`${name}.weight`, weightOffset]))
  let weights = new Map<string, StoredWeight>()
  const parts = new Map<string, FileTensor>()
  for (const [stored, location] of file.tensors) {
    if (stored === ropeFactorsName || isBeyond(stored, config.layers)) continue
    const name = huggingFaceName(stored, names, location.path)
    const excess = addsOffsets ? offsets.get(name) : 0
    const wanted = shapes.get(name)
    const shape = wanted && ggufShape(wanted).join() === location.shape.join() ? wanted : location.shape
    const isPart = wanted !== undefined && ggufTensors(name, wanted[0]!, names).length > 1
    const tensor = { ...location, name: isPart ? stored : name, shape }
    const all = isPart ? parts : weights
    all.set(tensor.name, new FileTensor(tensor, { ...layout?.(stored, config), excess }))
  }
  for (const [name, [rows]] of shapes) {
    const joined = ggufTensors(name, rows!, names).flatMap((part) => parts.get(part.name) ?? [])
    if (joined.length > 1) weights.set(name, new JoinedRows(name, joined))
  }
  for (const adapter of adapters) weights = await withGgufLora(adapter, weights, config, gguf)
  const spelling = new Spelling()
  return { format: 'gguf', config, weights, spelling, quantisation: null, embeddings: noEmbeddingSettings }
}
