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

/** A linear layer as an adapter sees it. */
export interface LayerFacts {
  /** Module path. */
  readonly name: string
  readonly inFeatures: number
  readonly outFeatures: number
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
  /** A fresh layer. Initial values depend on the seed and the layer's name alone. */
  create(config: Config, options: LayerOptions, seed: number): LayerAdapter
  /** Number of trained values for a layer, without making it. */
  countParameters(config: Config, layer: LayerFacts): number
  /** A layer from the file's tensors; `tensor` gives one by its suffix (`lora_A.weight`), or null. */
  read(config: Config, options: LayerOptions, tensor: (suffix: string) => StoredTensor | null): LayerAdapter
  /** What to store, by suffix. */
  tensors(layer: LayerAdapter): { suffix: string; tensor: Tensor }[]
  /** The method's configuration from `adapter_config.json`; null when the file is another method's. */
  fromPeft(json: Readonly<Record<string, unknown>>, source: string): Config | null
  /** The method's entries of `adapter_config.json`. */
  toPeft(config: Config): Record<string, unknown>
}

/** A tensor of an adapter file, as float32. */
export interface StoredTensor {
  readonly name: string
  readonly shape: readonly number[]
  readonly values: Float32Array
}
