import type { z } from 'zod'
import type { RandomStream } from '../../common/random.js'
import type { NativeDevice } from '../../native/addon.js'
import type { LayerAdapter } from '../../nn/layer-adapter.js'
import type { Parameter } from '../../tensor/parameter.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { Weight } from '../../tensor/weight.js'

/** `all-linear` is every linear layer of the blocks, not the head; names match the end of a module path. */
export type TargetModules = 'all-linear' | readonly string[] | RegExp

/**
 * The options in every method's configuration. Other options named `…Pattern` also give numbers by patterns, as `alphaPattern`
 * does.
 */
export interface AdapterConfigBase {
  /** The method's name in `--method` and run.yaml. */
  readonly method: string
  /** The parameter budget: as many parameters as a LoRA of this rank. */
  readonly rank: number
  /** The linear layers that get an adapter. */
  readonly targetModules: TargetModules
  /** Probability with which an element of the adapter's input is dropped while training. */
  readonly dropout: number
  /** Ranks of layers whose path ends with (or, as a regular expression, matches) the key. */
  readonly rankPattern: Readonly<Record<string, number>>
  /** Modules that are trained whole beside the adapter: `embeddings`, `norms`, `head`, or names as in `targetModules`. */
  readonly modulesToSave: readonly string[]
}

/** The configuration of one method, which has its name. */
export type ConfigOf<Method extends string, Config extends AdapterConfigBase = AdapterConfigBase> = Config & {
  /** The method's name. */
  readonly method: Method
}

/** A linear layer as an adapter sees it. */
export interface LayerFacts {
  /** Module path. */
  readonly name: string
  /** k, the number of inputs. */
  readonly inFeatures: number
  /** d, the number of outputs. */
  readonly outFeatures: number
  /**
   * The role of a layer outside the blocks, which `all-linear` does not include: the table of embeddings [V, D], which counts as
   * a weight with D inputs and V outputs, or the output head.
   */
  readonly role?: 'embeddings' | 'head' | undefined
}

/** The place of an adapter's layer: its linear layer, device and adapter. */
export interface LayerOptions {
  /** The linear layer that it adapts. */
  readonly layer: LayerFacts
  /** The device of the layer's weight, and so of the adapter's tensors. */
  readonly device: NativeDevice
  /** Name of the adapter in the model: part of the key of its dropout. */
  readonly adapter: string
}

/** Schemas of options by name, declared with the functions of `lib/schema/option.ts`. */
export type OptionFields = Readonly<Record<string, z.ZodType>>

/** Values of a tensor on the host, row-major; integers for `int32`. */
export type TensorValues = Float32Array | Int32Array

/** The inputs of a tensor's initial values, which depend only on the seed, the layer's name and the weight. */
export interface TensorStart<Config> {
  /** The adapter's whole configuration. */
  readonly config: Config
  /** The linear layer of the tensor. */
  readonly layer: LayerFacts
  /** The declared shape of the tensor. */
  readonly shape: readonly number[]
  /** The random stream of this seed, layer and tensor. */
  readonly random: RandomStream
  /** The layer's weight [d, k]. */
  readonly weight: Weight
}

/** A method, like the other functions of a declaration, since TypeScript then accepts it for `TensorDeclaration` of any configuration. */
interface FrozenBy<Config> {
  frozen(config: Config): boolean
}

/** One tensor of a method's layers. */
export interface TensorDeclaration<Config extends AdapterConfigBase = AdapterConfigBase> {
  /** Returns its shape in memory for one of an adapter's `layers`; null if that layer has none. */
  shape(config: Config, layer: LayerFacts, layers: readonly LayerFacts[]): readonly number[] | null
  /** Default float32. Integers are never trained. */
  readonly dtype?: 'float32' | 'int32'
  /** Whether it keeps its initial values: stored, but not trained. It may depend on the configuration. */
  readonly frozen?: boolean | FrozenBy<Config>['frozen']
  /**
   * Whether all layers of the adapter share one tensor, stored once; its shape depends on `layers`, its values on the seed.
   * Frozen.
   */
  readonly shared?: boolean
  /** Returns the factor of the learning rate. */
  learningRateRatio?(config: Config): number
  /** Returns the initial values; absent: zeros. */
  initial?(start: TensorStart<Config>): TensorValues | Tensor
  /** Name in files, if that differs, or several names that all store it. */
  readonly inFile?: string | readonly string[]
  /** Name in files for the embeddings, where it is stored transposed. */
  readonly inFileOfEmbeddings?: string
  /** Whether files store the matrix transposed. */
  readonly transposed?: boolean
}

/** A tensor in files that corresponds to several in memory: it is split on reading and joined on writing. */
export interface SplitTensor<Config extends AdapterConfigBase> {
  /** Returns its shape in the file, row-major. */
  shape(config: Config, layer: LayerFacts): readonly number[]
  /** Dtype in the file, default float32. */
  readonly dtype?: 'float32' | 'int32'
  /** Returns the values in memory, by names of `tensors`, from the values in the file. */
  split(values: TensorValues, config: Config, layer: LayerFacts): Readonly<Record<string, TensorValues>>
  /** Returns the values for the file from those in memory. */
  join(tensors: Readonly<Record<string, TensorValues>>, config: Config, layer: LayerFacts): TensorValues
}

/** The tensors of one layer, by the names that its method declares. */
export interface LayerTensors {
  /** Whether the layer has this tensor: false if its declaration's `shape` returned null. */
  has(name: string): boolean
  /** Returns a float32 tensor. */
  parameter(name: string): Parameter
  /** Returns the values of an int32 tensor, which is on the host. */
  integers(name: string): Int32Array
}

/** The highest useful rank of an adapter for a layer. */
export interface RankLimit {
  /** The highest rank that changes what the layer can compute. */
  readonly most: number
  /** The noun that `most` counts, as in `8 inputs of lm_head`. */
  readonly of: string
  /** Whether higher ranks are refused; otherwise they only cause a note. */
  readonly refused?: boolean
}

/** The memory that an adapter's layer takes besides its tensors. */
export interface LayerMemory {
  /** Number of 4-byte values on the device besides the declared ones, such as tables of indices. */
  readonly tables: number
  /** Number of values that are derived from the adapter's and kept in the activations' dtype. */
  readonly derived: number
  /** Peak bytes of host memory while the layer is made. */
  readonly making: number
  /** Number of float32 values in one product's working space. */
  readonly working: number
}

/** Options of training that restarts depend on, including options of the rule and of the adapter. */
export interface RestartRunOptions {
  /** Number of steps between restarts. */
  readonly mergeEvery?: number
  /** The run's seed. */
  readonly seed: number
}

/** The rule by which an adapter is merged into the weights and restarted during a run. */
export interface RestartRule<Config extends AdapterConfigBase, Fields extends OptionFields = OptionFields> {
  /** Options of training for the rule, besides `mergeEvery`. */
  readonly options?: Fields
  /** Returns the configuration of a new adapter at the beginning of such a run; absent: unchanged. */
  first?(config: Config, options: RestartRunOptions): Config
  /**
   * Plans the restarts of an adapter that began as `config`: its configuration after each, and the options that run.yaml
   * records, by name.
   * @throws UsageError for options that do not fit the adapter
   */
  plan(
    config: Config,
    options: RestartRunOptions,
  ): {
    /** The restarts' options for run.yaml, by name. */
    readonly options?: Readonly<Record<string, unknown>>
    /** Names of the tensors that get their values at the start of the run again; the others get new initial values. */
    readonly restored?: readonly string[]
    /** Returns the adapter's configuration after a number of restarts, at least 1. */
    after(restarts: number): Config
  }
}

/** One method: its options, its layers, and their storage in files of Hugging Face PEFT (or the reference). */
export interface AdapterMethod<
  Config extends AdapterConfigBase = AdapterConfigBase,
  Fields extends OptionFields = OptionFields,
  RestartFields extends OptionFields = OptionFields,
> {
  /** The method's name in files, in run.yaml and as the value of `--method`. */
  readonly name: Config['method']
  /** Options of the command line and of `train` besides the options of every method. */
  readonly options: Fields
  /** The meaning of its rank, for help; default: the parameter budget of a LoRA of this rank. */
  readonly rankMeaning?: string
  /** The shared options that it does not have. */
  readonly lacks?: readonly 'rankPattern'[]
  /** Completes a configuration from some options. @throws UsageError */
  config(options: Partial<Omit<Config, 'method'>>): Config
  /** Returns the default peak learning rate. */
  learningRate(config: Config): number
  /** The rule for restarts; absent: the method cannot be merged and restarted while it trains. */
  readonly restart?: RestartRule<Config, RestartFields>
  /** Names of methods whose adapters it can train further, because it computes the same from their files. */
  readonly continues?: readonly string[]
  /** Whether the method supports the embeddings. */
  readonly embeddings?: boolean
  /** Whether Hugging Face PEFT computes the same from its files; default no. Model cards then name PEFT as their library. */
  readonly readByPeft?: boolean
  /** Returns what `inspect` shows of a configuration besides rank and dropout; default nothing. */
  describe?(config: Config): Readonly<Record<string, string | number>>
  /**
   * Returns what `inspect` shows of a layer besides its inputs and outputs, from the shapes of its tensors in memory; default
   * nothing.
   */
  describeLayer?(shapeOf: (tensor: string) => readonly number[]): Readonly<Record<string, number>>
  /** Returns the highest useful rank; absent: every rank is useful. */
  rankLimit?(config: Config, layer: LayerFacts): RankLimit
  /**
   * Returns a layer's memory besides its tensors, without making it. Defaults of what it leaves out: every value has a copy in
   * the activations' dtype and, while the layer is made, one in host memory; products need no working space. Without the
   * function, products compute ΔW in float32.
   */
  layerMemory?(config: Config, layer: LayerFacts): Partial<LayerMemory>
  /** Throws for a layer that it does not support. */
  requireFit?(config: Config, layer: LayerFacts): void
  /** The tensors of a layer, by the names that `layer` uses. */
  readonly tensors: Readonly<Record<string, TensorDeclaration<Config>>>
  /** Tensors in files that replace the entries of individual tensors. */
  readonly files?: Readonly<Record<string, SplitTensor<Config>>>
  /** Computes initial values together, in place of each tensor's own. */
  initial?(config: Config, layer: LayerFacts, weight: Weight): Promise<Readonly<Record<string, TensorValues>>>
  /** Makes the adapter of one layer. */
  layer(config: Config, options: LayerOptions, tensors: LayerTensors): LayerAdapter
  /**
   * Entries of the method in `adapter_config.json`, which override or extend the entries of every method. Entries that no other program knows
   * are under `node_mora`, in the header of the weights' file.
   */
  readonly peft: PeftTable<Config> & {
    /** PEFT's name of the type of adapter, which identifies the method of a file. */
    readonly peft_type: string
  }
  /**
   * Whether a file with its `peft_type` belongs to the method, if several have that type; default yes.
   * @throws UsageError `unsupported-option`
   */
  isOwnFile?(json: Readonly<Record<string, unknown>>, source: string): boolean
}

/**
 * Entries of `adapter_config.json` by name: a constant that every file of the method has, an entry that is read and written, or a
 * nested table of entries.
 */
export interface PeftTable<Config = AdapterConfigBase> {
  readonly [key: string]: string | number | boolean | null | PeftEntry<Config> | PeftTable<Config>
}

/** Reads and writes one entry. */
export interface PeftEntry<Config = AdapterConfigBase> {
  /**
   * Returns the options that it stores. The value is undefined for a file without the entry.
   * @throws InputError `malformed-file`, UsageError `unsupported-option`
   */
  read?(value: unknown, place: PeftPlace): Partial<Config>
  /** Returns the value for a configuration; the entry is left out if it is undefined. */
  write?(config: Config): unknown
}

/** The context of an entry. */
export interface PeftPlace {
  /** Name. */
  readonly key: string
  /** The file's path, for errors. */
  readonly source: string
  /** All entries of the file. */
  readonly json: Readonly<Record<string, unknown>>
}

/** A tensor to write to an adapter file. */
export interface TensorToStore {
  readonly suffix: string
  /** Whether the whole adapter shares one tensor. */
  readonly shared?: boolean
  readonly dtype?: 'float32' | 'int32'
  readonly shape: readonly number[]
  values(): Promise<TensorValues>
}

/** A tensor from an adapter file, as float32. */
export interface StoredTensor {
  /** Full name in the file, such as `base_model.model.….lora_A.weight`. */
  readonly name: string
  /** Dimensions in the file's order. */
  readonly shape: readonly number[]
  /** Row-major values. */
  readonly values: Float32Array
}

export const MERGE_WITH_PEFT = 'merge it with PEFT (merge_and_unload()), and use the saved model in place of the base'
