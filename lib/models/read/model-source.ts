import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { BaseIdentity } from '../../adapters/contract/base-model.js'
import { InputError, UsageError } from '../../common/errors.js'
import { type HubOptions, type HubOrigin, type Located, locate } from '../../hub/index.js'
import { whyNoModel } from '../../io/folder-kinds.js'
import { readGguf } from '../../io/gguf.js'
import { readJsonObject } from '../../io/json.js'
import { readModelFolder } from '../../io/model-folder.js'
import { isComputable, type TensorLocation } from '../../io/stored-dtype.js'
import { type FloatDType, type NativeDevice, type NativeFile, native } from '../../native/addon.js'
import type { QuantiseFormat } from '../../options/index.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { StorageFormat, Weight } from '../../tensor/weight.js'
import { configFromGguf, ggufFamily } from '../families/gguf-config.js'
import { parseConfig } from '../families/parse-config.js'
import { huggingFaceName, ropeFactorsName, rowOrder } from '../gguf/names.js'
import type { ModelConfig } from '../network/model-config.js'
import { normsOf, transposedWeights, weightShapes } from '../network/plan.js'
import { requireFiniteScales } from './block-scales.js'
import { type QuantisedTensors, quantisedWeights } from './formats/index.js'
import { quantiserSettings } from './formats/settings.js'
import { readBytes } from './formats/tensors.js'
import { linearsToQuantise } from './linears-to-quantise.js'
import {
  float32In,
  isQuantised,
  isToQuantise,
  keptFormat,
  type QuantisedForm,
  readFloats,
  readKept,
  readValues,
  type StoredWeight,
  shapeOf,
  usualDType,
} from './stored-weight.js'

/** A checkpoint on disk, under Hugging Face's tensor names: a folder with safetensors, or a GGUF file. */
export class ModelSource {
  readonly #files = new Map<string, NativeFile>()
  #identity: BaseIdentity | null = null
  /** Whether inputs of a weight belong to groups in another order than their own; null until all scales were found sound. */
  #ordered: boolean | null = null
  readonly #open = (path: string): NativeFile => {
    const known = this.#files.get(path)
    if (known) return known
    const file = native.openFile(path)
    this.#files.set(path, file)
    return file
  }

  private constructor(
    /** On this disk. */
    readonly path: string,
    readonly located: Located,
    readonly format: 'folder' | 'gguf',
    readonly config: ModelConfig,
    readonly weights: ReadonlyMap<string, StoredWeight>,
    /** `quantization_config`, which says how some weights are to be read; null where there is none. */
    readonly quantisation: unknown = null,
    /** What its floats are quantised to while they are read; null: they stay floats. */
    readonly quantise: QuantiseFormat | null = null,
  ) {}

  /** @param model a path, or a hub id that is downloaded where the cache does not have it */
  static async open(model: string, options: HubOptions = {}): Promise<ModelSource> {
    const located = await locate(model, 'model', options)
    const { path } = located
    const facts = await stat(path).catch(() => null)
    if (!facts) {
      throw new UsageError(
        'missing-file',
        `${path} does not exist; expected a folder with config.json and safetensors, a .gguf file, or a hub id, which is owner/name.`,
      )
    }
    const why = whyNoModel(path)
    if (why !== null) throw new UsageError('not-a-model', `This is no model: ${why}.`)
    return facts.isDirectory() ? ModelSource.#openFolder(located, options) : ModelSource.#openGguf(located)
  }

  static async #openFolder(located: Located, { onWarning }: HubOptions): Promise<ModelSource> {
    const { path } = located
    const configPath = join(path, 'config.json')
    const { quantization_config: inConfig, ...json } = await readJsonObject(configPath)
    const config = parseConfig(json, configPath, onWarning)
    const files = await readModelFolder(path)
    const { settings: quantisation, path: saying } = await quantiserSettings(configPath, inConfig, files, onWarning)
    const { basePrefix, embeddings } = config.network
    const isBase = !files.has(`${embeddings}.weight`) && files.has(`${embeddings.slice(basePrefix.length)}.weight`)
    const transposed = transposedWeights(config.network)
    const tensors = new Map<string, TensorLocation>()
    for (const [stored, location] of files) {
      tensors.set(isBase && !stored.startsWith(config.network.head) ? `${basePrefix}${stored}` : stored, location)
    }
    const weights = new Map<string, StoredWeight>()
    const source = new ModelSource(path, located, 'folder', config, weights, quantisation)
    const quantised = quantisation === null ? null : source.#quantised(saying, tensors)
    for (const [name, location] of quantised?.others ?? tensors)
      weights.set(name, { ...location, transposed: transposed.has(name) })
    for (const weight of quantised?.weights ?? []) weights.set(weight.name, weight)
    return source
  }

  static async #openGguf(located: Located): Promise<ModelSource> {
    const { path } = located
    const file = await readGguf(path)
    const factors = file.tensors.get(ropeFactorsName)
    const { names, permuted, normOffset } = ggufFamily(file).gguf
    const config = parseConfig(configFromGguf(file, factors && float32In(factors)), path)
    const norms = new Set(normsOf(config.network).map(({ name }) => `${name}.weight`))
    const weights = new Map<string, StoredWeight>()
    for (const [stored, location] of file.tensors) {
      if (stored === ropeFactorsName) continue
      const name = huggingFaceName(stored, names, path)
      const order = permuted ? rowOrder(stored, config) : null
      weights.set(name, { ...location, rowOrder: order, excess: norms.has(name) ? normOffset : 0 })
    }
    return new ModelSource(path, located, 'gguf', config, weights)
  }

  /**
   * The same checkpoint where matrices of the blocks are quantised while they are read: another base.
   * @throws UsageError `quantised-weights` where they are quantised already
   */
  quantisedTo(format: QuantiseFormat): ModelSource {
    const weights = linearsToQuantise(this.weights, this.config, format)
    return new ModelSource(this.path, this.located, this.format, this.config, weights, this.quantisation, format)
  }

  #quantised(configPath: string, tensors: ReadonlyMap<string, TensorLocation>): QuantisedTensors {
    if (this.config.network.transposedLinears) {
      throw new UsageError(
        'unsupported-option',
        `${configPath}: quantization_config is not supported for ${this.config.architecture}, whose weights are stored transposed.`,
      )
    }
    try {
      return quantisedWeights(this.quantisation, configPath, tensors, this.#open)
    } finally {
      this.closeFiles()
    }
  }

  /** Where it came from on the hub; null of a path. */
  get origin(): HubOrigin | null {
    return this.located.origin
  }

  /** The dtype that most values are stored in, or most of those that are quantised, for people and for defaults. */
  storedDType(): string {
    return this.quantise ?? usualDType([...this.weights.values()])
  }

  /** How most of its quantised weights are stored, once `requireWeights` has read their scales. */
  quantisedForm(): QuantisedForm {
    return { format: this.storedDType(), ordered: this.#ordered === true }
  }

  /** A weight's shape; throws naming the file where it is absent. */
  shape(name: string): readonly number[] {
    return shapeOf(this.#location(name))
  }

  /**
   * Refuses a checkpoint that lacks a weight of its configuration, or has it in another shape or in a dtype that weights here
   * cannot be: before memory is taken for what a configuration only claims.
   */
  requireWeights(): void {
    const wanted = weightShapes(this.config)
    for (const [name, shape] of wanted) this.#requireWeight(name, shape)
    if (this.#ordered !== null) return
    try {
      const ordered = [...wanted.keys()].map((name) => this.#requireSound(name, wanted))
      this.#ordered = ordered.includes(true)
    } finally {
      this.closeFiles()
    }
  }

  /** Refuses scales that are none, and a bias that the configuration knows nothing of; gives whether inputs are in another order. */
  #requireSound(name: string, wanted: ReadonlyMap<string, unknown>): boolean {
    const stored = this.weights.get(name)!
    if (!isQuantised(stored)) {
      requireFiniteScales(name, stored)
      return false
    }
    const ordered = Boolean(stored.scales(this.#open).groupOfColumn)
    const biasName = name.replace(/weight$/, 'bias')
    const bias = this.weights.get(biasName)
    if (!bias || wanted.has(biasName) || !('offset' in bias)) return ordered
    // Some tools write a bias of zeros to every layer.
    if (readBytes(bias, this.#open).every((byte) => byte === 0)) return ordered
    throw new InputError(
      'malformed-file',
      `${bias.path}: ${biasName} is not zero, but the layer has no bias by its configuration.`,
    )
  }

  #requireWeight(name: string, wanted: readonly number[]): void {
    const stored = this.#location(name)
    const { path } = stored
    const shape = this.shape(name)
    if (shape.join() !== wanted.join()) {
      throw new InputError(
        'malformed-file',
        `${path}: ${name} is [${shape.join(', ')}], but the configuration asks for [${wanted.join(', ')}].`,
      )
    }
    if (isQuantised(stored)) return
    const { dtype } = isToQuantise(stored) ? stored.floats : stored
    if (!isComputable(dtype) || dtype.startsWith('int') || dtype === 'uint8') {
      throw new UsageError('unsupported-dtype', `${path}: ${name} is stored as ${dtype}, which weights here cannot be.`)
    }
  }

  /** Reads a weight of the shape that the configuration asks for into `target`, converting to its dtype. */
  loadInto(name: string, target: Tensor): void {
    this.#requireWeight(name, target.shape)
    readValues(this.#location(name), target, this.#open)
  }

  /** A weight as it lies in its file, to be read only; null where it has another dtype or layout there. */
  asStored(name: string, shape: readonly number[], dtype: FloatDType, device: NativeDevice): Tensor | null {
    this.#requireWeight(name, shape)
    return readFloats(this.#location(name), dtype, device, this.#open)
  }

  /** The format in which a matrix can be used as it is stored; null where it has none. */
  keptFormat(name: string): StorageFormat | null {
    return keptFormat(this.#location(name))
  }

  /** Matrices of one such format and equally many columns, one below the other, as a new weight; null where they cannot be. */
  loadKept(names: readonly string[], device: NativeDevice): Weight | null {
    const matrices = names.map((name) => this.#location(name))
    return readKept(matrices, device, this.#open)
  }

  /**
   * Tells the checkpoint from others: by what its configuration means, and by every tensor's name, type, shape, and first
   * and last bytes. How tensors are spread over files makes no difference (a resumed run wants the very files).
   */
  identity(): BaseIdentity {
    this.#identity ??= { hash: this.#hash(), format: this.storedDType() }
    return this.#identity
  }

  #hash(): string {
    const { json, eosIds, initializerRange, ...meaning } = this.config
    const hash = createHash('sha256').update(JSON.stringify(meaning))
    if (this.quantisation !== null) hash.update(JSON.stringify(this.quantisation))
    if (this.quantise !== null) hash.update(`quantised to ${this.quantise}`)
    const files = new Map<string, NativeFile>()
    for (const [name, { path, dtype, shape, offset, bytes }] of this.#tensors()) {
      hash.update(JSON.stringify([name, dtype, shape, bytes]))
      const file = files.get(path) ?? native.openFile(path)
      files.set(path, file)
      for (const start of [offset, offset + Math.max(0, bytes - 4096)])
        hash.update(file.bytes(start, Math.min(4096, bytes)))
    }
    for (const file of files.values()) file.close()
    return hash.digest('hex')
  }

  /** All that weights are made of, in the order of their names. */
  #tensors(): [name: string, tensor: TensorLocation][] {
    const tensors = [...this.weights].flatMap(([name, stored]): [string, TensorLocation][] =>
      isQuantised(stored)
        ? stored.parts.map((part) => [part.name, part])
        : [[name, isToQuantise(stored) ? stored.floats : stored]],
    )
    return tensors.sort(([a], [b]) => (a < b ? -1 : 1))
  }

  /** A later load opens them again. */
  closeFiles(): void {
    for (const file of this.#files.values()) file.close()
    this.#files.clear()
  }

  #location(name: string): StoredWeight {
    const location = this.weights.get(name)
    if (!location)
      throw new InputError('malformed-file', `${this.path} has no tensor ${name}, which its configuration asks for.`)
    return location
  }
}
