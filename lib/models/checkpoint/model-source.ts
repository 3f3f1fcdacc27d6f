import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { BaseIdentity } from '../../adapters/contract/base-model.js'
import { InputError, UsageError } from '../../errors.js'
import { type HubOptions, type HubOrigin, type Located, locate } from '../../hub/index.js'
import { whyNoModel } from '../../io/folder-kinds.js'
import { readGguf } from '../../io/gguf.js'
import { readJsonObject } from '../../io/json.js'
import { readModelFolder } from '../../io/model-folder.js'
import { isComputable, type TensorLocation } from '../../io/stored-dtype.js'
import { type FloatDType, type NativeDevice, type NativeFile, native } from '../../native.js'
import { Tensor } from '../../tensor/tensor.js'
import type { StorageFormat, Weight } from '../../tensor/weight.js'
import { parseConfig } from '../families/parse-config.js'
import { huggingFaceName, ropeFactorsName, rowOrder } from '../gguf/names.js'
import type { ModelConfig } from '../network/model-config.js'
import { normsOf, transposedWeights, weightShapes } from '../network/plan.js'
import { configFromGguf, ggufFamily } from './gguf-config.js'
import { keptFormat, readFloats, readKept, readValues, type StoredWeight, shapeOf } from './stored-weight.js'

/** A checkpoint on disk, under Hugging Face's tensor names: a folder with safetensors, or a GGUF file. */
export class ModelSource {
  readonly #files = new Map<string, NativeFile>()
  #identity: BaseIdentity | null = null
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
    return facts.isDirectory() ? ModelSource.#openFolder(located) : ModelSource.#openGguf(located)
  }

  static async #openFolder(located: Located): Promise<ModelSource> {
    const { path } = located
    const configPath = join(path, 'config.json')
    const config = parseConfig(await readJsonObject(configPath), configPath)
    const files = await readModelFolder(path)
    const { basePrefix, embeddings } = config.network
    const isBase = !files.has(`${embeddings}.weight`) && files.has(`${embeddings.slice(basePrefix.length)}.weight`)
    const transposed = transposedWeights(config.network)
    const weights = new Map<string, StoredWeight>()
    for (const [stored, location] of files) {
      const name = isBase && !stored.startsWith(config.network.head) ? `${basePrefix}${stored}` : stored
      weights.set(name, { ...location, transposed: transposed.has(name) })
    }
    return new ModelSource(path, located, 'folder', config, weights)
  }

  static async #openGguf(located: Located): Promise<ModelSource> {
    const { path } = located
    const file = await readGguf(path)
    const factors = file.tensors.get(ropeFactorsName)
    const { names, permuted, normOffset } = ggufFamily(file).gguf
    const config = parseConfig(configFromGguf(file, factors && floatsOf(factors)), path)
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

  /** Where it came from on the hub; null of a path. */
  get origin(): HubOrigin | null {
    return this.located.origin
  }

  has(name: string): boolean {
    return this.weights.has(name)
  }

  /** The dtype that most values are stored in, for people and for defaults. */
  storedDType(): string {
    const counts = new Map<string, number>()
    for (const { dtype, bytes } of this.weights.values()) counts.set(dtype, (counts.get(dtype) ?? 0) + bytes)
    return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'float32'
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
    for (const [name, shape] of weightShapes(this.config)) this.#requireWeight(name, shape)
  }

  #requireWeight(name: string, wanted: readonly number[]): void {
    const { path, dtype } = this.#location(name)
    const shape = this.shape(name)
    if (shape.join() !== wanted.join()) {
      throw new InputError(
        'malformed-file',
        `${path}: ${name} is [${shape.join(', ')}], but the configuration asks for [${wanted.join(', ')}].`,
      )
    }
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

  /** A weight as a new tensor. */
  load(name: string, shape: readonly number[], dtype: FloatDType, device: NativeDevice): Tensor {
    const tensor = Tensor.empty(shape, { device, dtype })
    this.loadInto(name, tensor)
    return tensor
  }

  /** The format in which a matrix can be used as it is stored; null where it has none. */
  keptFormat(name: string): StorageFormat | null {
    return keptFormat(this.#location(name))
  }

  /** Matrices of one such format and equally many columns, one below the other, as a new weight. */
  loadKept(names: readonly string[], device: NativeDevice): Weight {
    const matrices = names.map((name) => this.#location(name))
    return readKept(matrices, device, this.#open)
  }

  /**
   * Tells the checkpoint from others: by what its configuration means, and by every tensor's name, type, shape, and first
   * and last bytes. How tensors are spread over files makes no difference.
   */
  identity(): BaseIdentity {
    this.#identity ??= { hash: this.#hash(), format: this.storedDType() }
    return this.#identity
  }

  #hash(): string {
    const { json, eosIds, initializerRange, ...meaning } = this.config
    const hash = createHash('sha256').update(JSON.stringify(meaning))
    const files = new Map<string, NativeFile>()
    for (const [name, { path, dtype, shape, offset, bytes }] of [...this.weights].sort(([a], [b]) =>
      a < b ? -1 : 1,
    )) {
      hash.update(JSON.stringify([name, dtype, shape, bytes]))
      const file = files.get(path) ?? native.openFile(path)
      files.set(path, file)
      for (const start of [offset, offset + Math.max(0, bytes - 4096)])
        hash.update(file.bytes(start, Math.min(4096, bytes)))
    }
    for (const file of files.values()) file.close()
    return hash.digest('hex')
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

function floatsOf({ path, offset, bytes }: TensorLocation): Float32Array {
  const file = native.openFile(path)
  const copy = file.bytes(offset, bytes)
  file.close()
  return new Float32Array(copy.buffer, copy.byteOffset, bytes / 4)
}
