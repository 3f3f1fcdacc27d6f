import type { z } from 'zod'
import type { RandomStream } from '../../common/random.js'
import type { NativeDevice } from '../../native/addon.js'
import type { LayerAdapter } from '../../nn/layer-adapter.js'
import type { Parameter } from '../../tensor/parameter.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { Weight } from '../../tensor/weight.js'

/** `all-linear` is every linear layer of the blocks, not the head; names match the end of a module path. */
export type TargetModules = 'all-linear' | readonly string[] | RegExp

/** What every method's configuration has. Other options named `…Pattern` give numbers by patterns too, as `alphaPattern` does. */
export interface AdapterConfigBase {
  /** The method's name, as `--method` and run.yaml have it. */
  readonly method: string
  /** The budget: as many parameters as a LoRA of this rank. */
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

/** A layer outside the blocks: the table of embeddings, or the output head. */
export type LayerRole = 'embeddings' | 'head'

/** A linear layer as an adapter sees it. */
export interface LayerFacts {
  /** Module path. */
  readonly name: string
  /** k, the number of inputs. */
  readonly inFeatures: number
  /** d, the number of outputs. */
  readonly outFeatures: number
  /**
   * What a layer outside the blocks is, which `all-linear` does not mean. The embeddings' table [V, D] counts as a weight with D
   * inputs and V outputs.
   */
  readonly role?: LayerRole
}

/** Where an adapter's layer belongs: beside which linear layer, on which device, in which adapter. */
export interface LayerOptions {
  /** The linear layer that it stands beside. */
  readonly layer: LayerFacts
  /** The device of the layer's weight, and so of the adapter's tensors. */
  readonly device: NativeDevice
  /** Name of the adapter within the model: keys its dropout. */
  readonly adapter: string
}

/** Schemas of options by name, declared with the functions of `lib/schema/option.ts`. */
export type OptionFields = Readonly<Record<string, z.ZodType>>

/** Values of a tensor on the host, row-major; integers of an `int32` one. */
export type TensorValues = Float32Array | Int32Array

/** Where a tensor's first values come from. They depend on the seed, the layer's name and the weight alone. */
export interface TensorStart<Config> {
  /** The adapter's whole configuration. */
  readonly config: Config
  /** The linear layer that the tensor stands beside. */
  readonly layer: LayerFacts
  /** The declared shape of the tensor. */
  readonly shape: readonly number[]
  /** The stream of this seed, layer and tensor. */
  readonly random: RandomStream
  /** The layer's weight [d, k]. */
  readonly weight: Weight
}

/** One tensor of a method's layers. */
export interface TensorDeclaration<Config extends AdapterConfigBase> {
  /** Its shape in memory beside one of an adapter's `layers`; null where that layer has none. */
  shape(config: Config, layer: LayerFacts, layers: readonly LayerFacts[]): readonly number[] | null
  /** Default float32. Integers are never trained. */
  readonly dtype?: 'float32' | 'int32'
  /** Kept and stored as it is made, not trained. */
  readonly frozen?: boolean
  /** One tensor for all layers of the adapter, stored once; its shape depends on `layers`, its values on the seed. Frozen. */
  readonly shared?: boolean
  /** Optimizers multiply the learning rate by this. */
  learningRateRatio?(config: Config): number
  /** Zero unless given. */
  initial?(start: TensorStart<Config>): TensorValues | Tensor
  /** Its name in files, where that is another one, or several names that all hold it. */
  readonly inFile?: string | readonly string[]
  /** The name of the embeddings' in files, where it lies transposed. */
  readonly inFileOfEmbeddings?: string
  /** A matrix that files hold transposed. */
  readonly transposed?: boolean
}

/** A tensor of files that is not one of memory's: it is split into some, and joined of them. */
export interface SplitTensor<Config extends AdapterConfigBase> {
  /** Its shape in the file, row-major. */
  shape(config: Config, layer: LayerFacts): readonly number[]
  /** Its dtype in the file, default float32. */
  readonly dtype?: 'float32' | 'int32'
  /** Returns the values in memory, by names of `tensors`, from the values in the file. */
  split(values: TensorValues, config: Config, layer: LayerFacts): Readonly<Record<string, TensorValues>>
  /** Returns the values for the file from those in memory. */
  join(tensors: Readonly<Record<string, TensorValues>>, config: Config, layer: LayerFacts): TensorValues
}

/** The tensors of one layer, by the names under which its method declares them. */
export interface LayerTensors {
  /** Whether the layer has this tensor: false where its declaration's `shape` returned null. */
  has(name: string): boolean
  /** One of float32. */
  parameter(name: string): Parameter
  /** The values of one of int32; it lives on the host. */
  integers(name: string): Int32Array
}

/** Up to which rank an adapter has a use beside a layer. */
export interface RankLimit {
  /** The highest rank that changes what the layer can compute. */
  readonly most: number
  /** What there is `most` of, as in `8 inputs of lm_head`. */
  readonly of: string
  /** Whether more are refused; else they are noted. */
  readonly refused?: boolean
}

/** What a layer of an adapter takes beside its tensors. */
export interface LayerMemory {
  /** Values of 4 bytes that lie on the device beside the declared ones, such as tables of places. */
  readonly tables: number
  /** Values that are made of the adapter's and kept in the activations' dtype. */
  readonly derived: number
  /** Most bytes that the process takes, beside the device's, while the layer is made. */
  readonly making: number
  /** Float32 values of working space of one product. */
  readonly working: number
}

/** Options of training that restarts depend on: also the rule's own, and those of the adapter. */
export interface RestartRunOptions {
  /** Steps from one restart to the next. */
  readonly mergeEvery?: number
  /** The run's seed. */
  readonly seed: number
}

/** What becomes of an adapter that is merged into the weights and started again, over and over. */
export interface RestartRule<Config extends AdapterConfigBase> {
  /** Options of training that it takes beside `mergeEvery`. */
  readonly options?: OptionFields
  /** A new adapter at the beginning of such a run; as it is described, unless given. */
  first?(config: Config, options: RestartRunOptions): Config
  /**
   * What each restart makes of an adapter that began as `config`, and the options of that by name, as run.yaml records
   * them. @throws UsageError for options that do not fit the adapter
   */
  plan(
    config: Config,
    options: RestartRunOptions,
  ): {
    /** Options of the restarts as run.yaml records them, by name. */
    readonly options?: Readonly<Record<string, unknown>>
    /** The adapter's configuration after that many restarts, from 1. */
    after(restarts: number): Config
  }
}

/** One method: its options, its layers, and how they lie in the files of Hugging Face PEFT (or the reference). */
export interface AdapterMethod<
  Config extends AdapterConfigBase = AdapterConfigBase,
  Fields extends OptionFields = OptionFields,
> {
  /** The method's name in files, in run.yaml and as the value of `--method`. */
  readonly name: Config['method']
  /** Options of the command line, and of `train`, beside those that every method has. */
  readonly options: Fields
  /** Options of every method that it does not have. */
  readonly lacks?: readonly 'rankPattern'[]
  /** A whole configuration from some options. @throws UsageError */
  config(options: Partial<Omit<Config, 'method'>>): Config
  /** The peak learning rate of a run that names none. */
  learningRate(config: Config): number
  /** Without, the method cannot be merged and restarted while it trains. */
  readonly restart?: RestartRule<Config>
  /** Whether it has a form for the embeddings. */
  readonly embeddings?: boolean
  /** Whether Hugging Face PEFT computes the same from its files; default no. Cards of outputs then name PEFT as their library. */
  readonly readByPeft?: boolean
  /** What `inspect` shows of a configuration beside rank and dropout; default nothing. */
  describe?(config: Config): Readonly<Record<string, string | number>>
  /** What `inspect` tells of a layer beside its inputs and outputs, from the shapes of its tensors in memory; default nothing. */
  describeLayer?(shapeOf: (tensor: string) => readonly number[]): Readonly<Record<string, number>>
  /** Absent where every rank has a use. */
  rankLimit?(config: Config, layer: LayerFacts): RankLimit
  /**
   * What a layer takes beside its tensors, without making it. What is left out of it: every value has a copy in the
   * activations' dtype and, while the layer is made, one in the process; products need no working space. Without the
   * function, products make ΔW in float32.
   */
  layerMemory?(config: Config, layer: LayerFacts): Partial<LayerMemory>
  /** Refuses a layer that it has no form for. */
  requireFit?(config: Config, layer: LayerFacts): void
  /** The tensors of a layer, by names that `layer` asks for them by. */
  readonly tensors: Readonly<Record<string, TensorDeclaration<Config>>>
  /** In place of the tensors' own entries in files. */
  readonly files?: Readonly<Record<string, SplitTensor<Config>>>
  /** First values that are found together, in place of the tensors' own. */
  initial?(config: Config, layer: LayerFacts, weight: Weight): Promise<Readonly<Record<string, TensorValues>>>
  /** The part beside one layer. */
  layer(config: Config, options: LayerOptions, tensors: LayerTensors): LayerAdapter
  /**
   * Its entries of `adapter_config.json`, in place of or beside those that every method has. What no other program knows stands
   * under `node_mora`, and lies in the header of the weights.
   */
  readonly peft: PeftTable<Config> & {
    /** PEFT's name of the kind of adapter, by which files find their method. */
    readonly peft_type: string
  }
  /**
   * Whether a file with its `peft_type` is the method's, where several have that type; default yes.
   * @throws UsageError `unsupported-option`
   */
  isOwnFile?(json: Readonly<Record<string, unknown>>, source: string): boolean
}

/** Entries of `adapter_config.json` by name: a value that every file of the method has, or what reads and writes one. */
export interface PeftTable<Config = AdapterConfigBase> {
  readonly [key: string]: PeftRow<Config>
}

/** A constant, what reads and writes an entry, or a table of entries within one. */
export type PeftRow<Config = AdapterConfigBase> =
  | string
  | number
  | boolean
  | null
  | PeftEntry<Config>
  | PeftTable<Config>

/** What reads and writes one entry. */
export interface PeftEntry<Config = AdapterConfigBase> {
  /**
   * The options that it holds. A file without the entry has the value undefined.
   * @throws InputError `malformed-file`, UsageError `unsupported-option`
   */
  read?(value: unknown, place: PeftPlace): Partial<Config>
  /** The value for a configuration; the entry is left out where it is undefined. */
  write?(config: Config): unknown
}

/** Where an entry lies. */
export interface PeftPlace {
  /** Its name. */
  readonly key: string
  /** The file's path, for errors. */
  readonly source: string
  /** All entries of the file. */
  readonly json: Readonly<Record<string, unknown>>
}

/** A tensor on its way to an adapter file. */
export interface TensorToStore {
  readonly suffix: string
  /** One tensor for the whole adapter, not for a layer. */
  readonly shared?: boolean
  readonly dtype?: 'float32' | 'int32'
  readonly shape: readonly number[]
  values(): Promise<TensorValues>
}

/** A tensor of an adapter file, as float32. */
export interface StoredTensor {
  /** Its whole name in the file, as `base_model.model.….lora_A.weight`. */
  readonly name: string
  /** Dimensions in the file's order. */
  readonly shape: readonly number[]
  /** Row-major values. */
  readonly values: Float32Array
}
