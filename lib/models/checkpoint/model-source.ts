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
import { blockBytes, blockValues, isComputable, type TensorLocation } from '../../io/stored-dtype.js'
import {
  type BlockDType,
  type DType,
  type FloatDType,
  isBlockDType,
  type NativeDevice,
  type NativeFile,
  type NativeTensor,
  native,
} from '../../native.js'
import { keep, scope } from '../../tensor/scope.js'
import { denseStrides, Tensor, transposedView } from '../../tensor/tensor.js'
import { parseConfig } from '../families/parse-config.js'
import { huggingFaceName, ropeFactorsName, rowOrder } from '../gguf/names.js'
import type { ModelConfig } from '../network/model-config.js'
import { normsOf, transposedWeights, weightShapes } from '../network/plan.js'
import { configFromGguf, ggufFamily } from './gguf-config.js'

interface StoredWeight extends TensorLocation {
  /** Row r of the weight is row `rowOrder[r]` of the file; absent where they agree. */
  readonly rowOrder?: Int32Array | null
  /** Whether the file has the weight's transpose. */
  readonly transposed?: boolean
  /** What the file's values are more than the weight's. */
  readonly excess?: number
}

/** A checkpoint on disk, under Hugging Face's tensor names: a folder with safetensors, or a GGUF file. */
export class ModelSource {
  readonly #files = new Map<string, NativeFile>()
  #identity: BaseIdentity | null = null

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
    const { shape, transposed } = this.#location(name)
    return transposed ? shape.toReversed() : shape
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
    const location = this.#location(name)
    const { path, shape, offset } = location
    const dtype = location.dtype as DType
    scope(() => {
      const raw = native.fromFile(target.device, dtype, shape, this.#file(path), offset)
      if (location.rowOrder || location.transposed || location.excess) unpack(raw, location, target)
      else native.dequantise(raw, target.native)
      raw.dispose()
    })
  }

  /** A weight as it lies in its file, to be read only; null where it has another dtype or layout there. */
  asStored(name: string, shape: readonly number[], dtype: FloatDType, device: NativeDevice): Tensor | null {
    this.#requireWeight(name, shape)
    const { path, offset, dtype: own, rowOrder, transposed, excess } = this.#location(name)
    if (own !== dtype || rowOrder || transposed || excess) return null
    const handle = native.fromFile(device, dtype, shape, this.#file(path), offset)
    return keep(new Tensor(handle, device, dtype, shape, denseStrides(shape)))
  }

  /** A weight as a new tensor. */
  load(name: string, shape: readonly number[], dtype: FloatDType, device: NativeDevice): Tensor {
    const tensor = Tensor.empty(shape, { device, dtype })
    this.loadInto(name, tensor)
    return tensor
  }

  /** The block format in which a matrix can be used as it is stored; null where it has none. */
  blockFormat(name: string): BlockDType | null {
    const { dtype, shape, transposed, excess } = this.#location(name)
    return isComputable(dtype) && isBlockDType(dtype) && shape.length === 2 && !transposed && !excess ? dtype : null
  }

  /** Matrices of one block format and equally many columns, one below the other, as a new tensor of that format. */
  loadBlocks(names: readonly string[], device: NativeDevice): Tensor {
    const locations = names.map((name) => this.#location(name))
    const { dtype, shape } = locations[0]!
    const columns = shape[1]!
    const rows = locations.reduce((sum, location) => sum + location.shape[0]!, 0)
    const rowBytes = (columns / blockValues(dtype)) * blockBytes(dtype)
    const stored = new Uint8Array(rows * rowBytes)
    let row = 0
    for (const { path, offset, bytes, rowOrder: order } of locations) {
      const own = this.#file(path).bytes(offset, bytes)
      const count = bytes / rowBytes
      if (!order) stored.set(own, row * rowBytes)
      else for (const [to, from] of order.entries()) stored.set(rowOf(own, from, rowBytes), (row + to) * rowBytes)
      row += count
    }
    const handle = native.fromArray(device, dtype as BlockDType, [rows, columns], stored)
    return new Tensor(handle, device, dtype as BlockDType, [rows, columns], [columns, 1])
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

  #file(path: string): NativeFile {
    const known = this.#files.get(path)
    if (known) return known
    const file = native.openFile(path)
    this.#files.set(path, file)
    return file
  }
}

/** Turns what a file holds into the weight, by way of float32. */
function unpack(
  raw: NativeTensor,
  { shape, rowOrder: order, transposed, excess = 0 }: StoredWeight,
  target: Tensor,
): void {
  const { device } = target
  const values = Tensor.empty(shape, { device })
  native.dequantise(raw, values.native)
  if (order) {
    const matrix = [order.length, values.elements / order.length]
    const sorted = Tensor.empty(matrix, { device })
    const rows = Tensor.from(order, [order.length], { device, dtype: 'int32' })
    native.gatherRows(values.view(matrix).native, rows.native, sorted.native)
    native.copy(sorted.view(shape).native, target.native, 1)
  } else if (transposed) {
    native.copy(transposedView(values).native, target.native, 1)
  } else {
    const ones = Tensor.empty(shape, { device })
    native.fill(ones.native, 1)
    native.add(ones.native, values.native, -excess)
    native.copy(values.native, target.native, 1)
  }
}

function rowOf(bytes: Uint8Array, row: number, rowBytes: number): Uint8Array {
  return bytes.subarray(row * rowBytes, (row + 1) * rowBytes)
}

function floatsOf({ path, offset, bytes }: TensorLocation): Float32Array {
  const file = native.openFile(path)
  const copy = file.bytes(offset, bytes)
  file.close()
  return new Float32Array(copy.buffer, copy.byteOffset, bytes / 4)
}
