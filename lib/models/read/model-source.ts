import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { about, InputError, UsageError } from '../../common/errors.js'
import { type HubOptions, type HubOrigin, type Located, locate } from '../../hub/index.js'
import { whyNoModel } from '../../io/folder-kinds.js'
import { ggufTitle } from '../../io/gguf-parts.js'
import { isComputable, type TensorLocation } from '../../io/stored-dtype.js'
import type { BlockDType, FloatDType, NativeDevice } from '../../native/addon.js'
import { openDevice } from '../../tensor/device.js'
import { keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { StorageFormat, Weight } from '../../tensor/weight.js'
import { QUANTISE_FORMATS, type QuantiseFormat } from '../formats.js'
import type { ModelConfig } from '../network/model-config.js'
import { type DecoderBlockPlan, weightShapes } from '../network/plan.js'
import { type Contents, OpenFiles, readFolder, readGgufFile } from './contents.js'
import { FileTensor } from './file-tensor.js'
import { JoinedRows } from './joined-rows.js'
import { quantisedOnLoad } from './quantise-on-load.js'
import { readBytes, StoredCodes } from './stored-codes.js'
import { type QuantisedForm, type StoredWeight, stackedBlocks, usualDType } from './stored-weight.js'

/** A checkpoint on disk, under Hugging Face's tensor names: a folder with safetensors, or a GGUF file. */
export class ModelSource implements Contents {
  /** The path on this disk. */
  readonly path: string
  readonly format: 'folder' | 'gguf'
  readonly config: ModelConfig
  readonly weights: ReadonlyMap<string, StoredWeight>
  readonly spelling: Contents['spelling']
  readonly quantisation: unknown
  readonly embeddings: Contents['embeddings']
  /** The shapes that the configuration requires, by name. */
  readonly shapes: ReadonlyMap<string, readonly number[]>
  readonly #files = new OpenFiles()
  #identity: ReturnType<ModelSource['identity']> | null = null
  /** Whether the inputs of a weight are in groups by another order than their own; null until all scales are checked. */
  #ordered: boolean | null = null

  private constructor(
    readonly located: Located,
    { format, config, weights, spelling, quantisation, embeddings }: Contents,
    /** The format that its floats are quantised to on loading; null: they stay floats. */
    readonly quantise: QuantiseFormat | null = null,
  ) {
    this.path = located.path
    this.format = format
    this.config = config
    this.weights = weights
    this.spelling = spelling
    this.quantisation = quantisation
    this.embeddings = embeddings
    this.shapes = weightShapes(config)
  }

  /** @param model a path, a hub id, which is downloaded unless the cache has it, or a name of Ollama's (`ollama:NAME`) */
  static async open(model: string, options: HubOptions = {}): Promise<ModelSource> {
    const located = await locate(model, 'model', options)
    const { path, ollama } = located
    const found = await stat(path).catch(() => null)
    if (!found) {
      throw new UsageError(
        'missing-file',
        `${path} does not exist; expected a folder with config.json and safetensors, a .gguf file, a hub id, which is owner/name, or ollama:NAME.`,
      )
    }
    const why = whyNoModel(path)
    if (why !== null) throw new UsageError('not-a-model', `This is not a model: ${why}.`)
    if (ollama?.notice) options.onWarning?.(ollama.notice)
    const adapters = ollama?.blobs.slice(1).map((blob) => blob.path)
    const reading = found.isDirectory() ? readFolder(path, options.onWarning) : readGgufFile(path, adapters)
    const contents = await reading.catch((error) => {
      throw ollama ? about(model, error) : error
    })
    return new ModelSource(located, contents)
  }

  /**
   * Returns the same checkpoint with the matrices of its blocks quantised on loading: for adapters, a different base.
   * @throws UsageError `quantised-weights` if they are already quantised
   */
  quantisedTo(format: QuantiseFormat): ModelSource {
    const weights = quantisedOnLoad(this.weights, this.config, format)
    return new ModelSource(this.located, { ...this, weights }, format)
  }

  /**
   * Returns the same checkpoint quantised on loading to `format` if it is of floats and then has this hash, as where an adapter
   * was trained beside it; else itself.
   */
  quantisedAs({ hash, format }: { hash?: string | undefined; format?: string | undefined }): ModelSource {
    const known = QUANTISE_FORMATS.find((name) => name === format)
    if (known === undefined || !this.storedDType().includes('float') || this.identity().hash === hash) return this
    const quantised = this.quantisedTo(known)
    return quantised.identity().hash === hash ? quantised : this
  }

  /** Origin on the hub; null for a path. */
  get origin(): HubOrigin | null {
    return this.located.origin
  }

  /** A name for people: the file's or folder's, or Ollama's. */
  get title(): string {
    return ggufTitle(this.located.ollama?.reference.replace('ollama:', '') ?? this.path)
  }

  /** The dtype that most values are stored in, among quantised weights if there are any; for display and defaults. */
  storedDType(): string {
    return this.quantise ?? usualDType([...this.weights.values()])
  }

  /** The form of most of its quantised weights, once `requireWeights` has read their scales. */
  quantisedForm(): QuantisedForm {
    return { format: this.storedDType(), ordered: this.#ordered === true }
  }

  /** Returns a weight's shape; throws an error that names the file if the weight is absent. */
  shape(name: string): readonly number[] {
    return this.#weight(name).shape
  }

  /**
   * Throws if the checkpoint lacks a weight of its configuration, or has it in another shape or an unsupported dtype, before
   * memory is allocated for what a configuration only claims.
   */
  requireWeights(): void {
    for (const [name, shape] of this.shapes) this.#require(name, shape)
    if (this.#ordered !== null) return
    try {
      const checked = [...this.shapes.keys()].map((name) => this.#weight(name).check(this.#files.open))
      this.#requireNoOtherBias()
      this.#ordered = checked.some(({ ordered }) => ordered)
    } finally {
      this.closeFiles()
    }
  }

  /**
   * Throws if a quantised layer has a bias, other than zeros, that its configuration lacks; some tools write zeros to every
   * layer.
   */
  #requireNoOtherBias(): void {
    for (const name of this.shapes.keys()) {
      const bias = this.weights.get(name.replace(/weight$/, 'bias'))
      if (!(bias instanceof FileTensor) || this.shapes.has(bias.name) || !(this.#weight(name) instanceof StoredCodes))
        continue
      if (bias.rawBytes(this.#files.open).every((byte) => byte === 0)) continue
      throw new InputError(
        'malformed-file',
        `${bias.path}: ${bias.name} is not zero, but the layer has no bias by its configuration.`,
      )
    }
  }

  #require(name: string, wanted: readonly number[]): StoredWeight {
    const stored = this.#weight(name)
    const { path, shape } = stored
    if (shape.join() !== wanted.join()) {
      throw new InputError(
        'malformed-file',
        `${path}: ${name} is [${shape.join(', ')}], but the configuration asks for [${wanted.join(', ')}].`,
      )
    }
    if (stored instanceof StoredCodes) return stored
    const isValues = ({ dtype }: TensorLocation) => isComputable(dtype) && !dtype.startsWith('int') && dtype !== 'uint8'
    const other = stored.tensors.find((tensor) => !isValues(tensor))
    if (!other) return stored
    throw new UsageError(
      'unsupported-dtype',
      `${path}: ${name} is stored as ${other.dtype}, which is not supported for weights.`,
    )
  }

  /** Reads a weight into `target`, which has the configuration's shape, converting to its dtype. */
  loadInto(name: string, target: Tensor): void {
    this.#require(name, target.shape).readInto(target, this.#files.open)
  }

  /** Returns the values of a weight in float32. */
  async values(name: string): Promise<Float32Array> {
    using values = keep(Tensor.empty(this.shapes.get(name)!, { device: openDevice({ device: 'cpu' }) }))
    this.loadInto(name, values)
    return (await values.data()) as Float32Array
  }

  /** Returns a weight as its file stores it, read-only; null if it has another dtype or layout there. */
  asStored(name: string, shape: readonly number[], dtype: FloatDType, device: NativeDevice): Tensor | null {
    const stored = this.#require(name, shape)
    return stored instanceof FileTensor ? stored.readFloats(dtype, device, this.#files.open) : null
  }

  /**
   * Returns the blocks of a GGUF file's tensor, which holds the rows of a weight from `row` on, if it has this format; rows in the
   * file's order. Null otherwise.
   */
  storedBlocks(name: string, row: number, format: BlockDType): Uint8Array | null {
    if (this.format !== 'gguf') return null
    const weight = this.weights.get(name)
    const parts = weight instanceof JoinedRows ? weight.parts : [weight]
    const stored = parts[(row * parts.length) / weight!.shape[0]!]
    if (!(stored instanceof FileTensor) || stored.dtype !== format) return null
    return stored.rawBytes(this.#files.open)
  }

  /**
   * The tensors of a model that wraps a text model which are not the text model's, in the order of the files; without what
   * quantisers write beside codes, such as scales of activations.
   */
  get kept(): StoredWeight[] {
    if (!this.config.text) return []
    return [...this.weights.values()].filter(({ name }) => !this.shapes.has(name) && !this.#isBesideCodes(name))
  }

  #isBesideCodes(name: string): boolean {
    const [, module, part] = /^(.*)\.(.*)$/.exec(name) ?? []
    const weight = this.weights.get(`${module}.weight`)
    if (part === 'weight' || !(weight instanceof StoredCodes)) return false
    return part !== 'bias' || this.shapes.has(weight.name)
  }

  /** Returns the bytes of a tensor of `kept` as its file has them. */
  keptBytes({ tensors: [tensor] }: StoredWeight): Uint8Array {
    return readBytes(tensor!, this.#files.open)
  }

  /** Returns the stored format in which a matrix can be used directly; null if there is none. */
  keptFormat(name: string): StorageFormat | null {
    return this.#weight(name).keptFormat
  }

  /** Loads matrices of one such format and width, stacked as a new weight; null if they cannot be stacked. */
  loadKept(names: readonly string[], device: NativeDevice): Weight | null {
    const matrices = names.map((name) => this.#weight(name))
    const { open } = this.#files
    return matrices.length === 1 ? matrices[0]!.readKept(device, open) : stackedBlocks(matrices, device, open)
  }

  /**
   * Identifies the checkpoint by the meaning of its configuration, and by every tensor's name, type, shape, and first and last
   * bytes. How tensors are spread over files makes no difference.
   */
  identity(): { readonly hash: string; readonly format: string } {
    this.#identity ??= { hash: this.#hash(), format: this.storedDType() }
    return this.#identity
  }

  #hash(): string {
    const { json, eosIds, initializerRange, text, ...meaning } = this.config
    const hash = createHash('sha256').update(JSON.stringify(meaning, withHashedNames))
    if (this.quantisation !== null) hash.update(JSON.stringify(this.quantisation))
    if (this.quantise !== null) hash.update(`quantised to ${this.quantise}`)
    const files = new OpenFiles()
    const tensors = [...this.weights.values()].flatMap((stored) => stored.tensors)
    for (const { name, path, dtype, shape, offset, bytes } of tensors.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      hash.update(JSON.stringify([name, dtype, shape, bytes]))
      const file = files.open(path)
      for (const start of [offset, offset + Math.max(0, bytes - 4096)])
        hash.update(file.bytes(start, Math.min(4096, bytes)))
    }
    files.close()
    return hash.digest('hex')
  }

  /** Closes the files; a later load opens them again. */
  closeFiles(): void {
    this.#files.close()
  }

  #weight(name: string): StoredWeight {
    const stored = this.weights.get(name)
    if (!stored)
      throw new InputError('malformed-file', `${this.path} has no tensor ${name}, which its configuration asks for.`)
    return stored
  }
}

/** Adapters keep hashes, which know a block's mixer, where that is attention, by the name `attention`. */
function withHashedNames(_: string, value: unknown): unknown {
  if (!isBlock(value) || value.mixer.kind !== 'attention') return value
  const { beforeMixer, mixer, afterMixer, ...rest } = value
  const { kind, ...attention } = mixer
  return { beforeAttention: beforeMixer, attention, afterAttention: afterMixer, ...rest }
}

const isBlock = (value: unknown): value is DecoderBlockPlan =>
  typeof value === 'object' && value !== null && 'mixer' in value
