import type { NativeDevice } from '../native.js'
import type { LayerAdapter } from '../nn/layer-adapter.js'
import type { Tensor } from '../tensor/tensor.js'

/** `all-linear` is every linear layer of the blocks, not the head; names match the end of a module path. */
export type TargetModules = 'all-linear' | readonly string[] | RegExp

/** What every method's configuration has. */
export interface AdapterConfigBase {
  readonly method: string
  /** The budget: as many parameters as a LoRA of this rank. */
  readonly rank: number
  readonly targetModules: TargetModules
  /** Probability with which an element of the adapter's input is dropped while training. */
  readonly dropout: number
  /** Ranks of layers whose path ends with (or, as a regular expression, matches) the key. */
  readonly rankPattern: Readonly<Record<string, number>>
  /** Modules that are trained whole beside the adapter: `embeddings`, `norms`, `head`, or names as in `targetModules`. */
  readonly modulesToSave: readonly string[]
}

export type LayerRole = 'embeddings' | 'head'

/** A linear layer as an adapter sees it. */
export interface LayerFacts {
  /** Module path. */
  readonly name: string
  readonly inFeatures: number
  readonly outFeatures: number
  /**
   * Of a layer outside the blocks, which `all-linear` does not mean. The embeddings' table [V, D] counts as a weight with D
   * inputs and V outputs.
   */
  readonly role?: LayerRole
}

export interface LayerOptions {
  readonly layer: LayerFacts
  readonly device: NativeDevice
  /** Name of the adapter within the model: keys its dropout. */
  readonly adapter: string
}

/** One method: how its layers are made, and how they lie in the files of Hugging Face PEFT (or the reference). */
export interface AdapterMethod<Config extends AdapterConfigBase = AdapterConfigBase> {
  readonly name: string
  /** Whether it has a form for the embeddings. */
  readonly embeddings?: boolean
  /** The ends of its tensors' names in files. */
  readonly suffixes: readonly string[]
  /**
   * A fresh layer beside a weight [d, k]. Initial values depend on the seed, the layer's name and the weight; a promise
   * where that takes long.
   */
  create(config: Config, options: LayerOptions, seed: number, weight: Tensor): LayerAdapter | Promise<LayerAdapter>
  /** Number of trained values for a layer, without making it. */
  countParameters(config: Config, layer: LayerFacts): number
  /** A layer from the file's tensors; `tensor` gives one by its suffix (`lora_A.weight`), or null. */
  read(config: Config, options: LayerOptions, tensor: (suffix: string) => StoredTensor | null): LayerAdapter
  /** What to store of a layer. */
  tensors(layer: LayerAdapter): TensorToStore[]
  /** The method's configuration from `adapter_config.json`; null when the file is another method's. */
  fromPeft(json: Readonly<Record<string, unknown>>, source: string, common: CommonEntries): Config | null
  /**
   * The method's entries of `adapter_config.json`, beside or instead of those that every method has. What no other program
   * knows stands under `node_mora`, and lies in the header of the weights.
   */
  toPeft(config: Config): Record<string, unknown>
}

/** What every method's `adapter_config.json` says. */
export type CommonEntries = Pick<AdapterConfigBase, 'rank' | 'rankPattern' | 'targetModules' | 'modulesToSave'>

/** A tensor on its way to an adapter file, as float32. */
export interface TensorToStore {
  readonly suffix: string
  readonly shape: readonly number[]
  values(): Promise<Float32Array>
}

/** A tensor as it is, under a suffix. */
export function asStored(suffix: string, tensor: Tensor): TensorToStore {
  return { suffix, shape: tensor.shape, values: async () => (await tensor.data()) as Float32Array }
}

/** The transpose of a matrix, under a suffix. */
export function asTransposed(suffix: string, matrix: Tensor): TensorToStore {
  const [rows, columns] = matrix.shape as [number, number]
  const values = async () => transposed((await matrix.data()) as Float32Array, rows, columns)
  return { suffix, shape: [columns, rows], values }
}

/** The transpose of a row-major matrix [rows, columns]. */
export function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  return Float32Array.from(values, (_, at) => values[(at % rows) * columns + Math.floor(at / rows)]!)
}

/** A tensor of an adapter file, as float32. */
export interface StoredTensor {
  readonly name: string
  readonly shape: readonly number[]
  readonly values: Float32Array
}
