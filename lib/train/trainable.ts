/** What training needs of a model, its parameters and an optimizer. `Model`, `Parameter` and `AdamW` fit; so do fakes. */

import type { AdapterConfigBase, LayerFacts } from '../adapters/contract/adapter.js'
import type { BaseModel } from '../adapters/contract/base-model.js'
import type { Tokenizer } from '../data/tokenizer/tokenizer.js'
import type { HeldForTraining } from '../models/adaptation/training-hold.js'
import type { QuantisedBase } from '../models/load/storage-plan.js'
import type { ModelConfig } from '../models/network/model-config.js'
import type { ModelShards } from '../models/network/model-shards.js'
import type { FloatDType } from '../native/addon.js'
import type { ForwardModel } from '../objectives/objective.js'
import type { TrainOptions } from '../options/index.js'
import type { WritableValues } from '../tensor/ranks.js'

/** Values on a device. */
export interface StoredValues {
  readonly shape: readonly number[]
  data(): Promise<ArrayLike<number> | ArrayLike<bigint>>
  /** The values while passes that only read them go on; absent or null where these have to end first. */
  dataAtOnce?(): Float32Array | null
}

/** Values whose memory is given back by the last `release`. */
export interface HeldValues extends StoredValues {
  retain(): unknown
  release(): void
}

/** A float32 tensor that the optimizer changes. */
export interface TrainedParameter extends StoredValues {
  readonly name: string
  /** The sum of gradients so far; null where no backward pass has reached the parameter. */
  readonly grad: (HeldValues & WritableValues) | null
  /** The gradient, made of zeros if there is none. */
  ensureGrad(): WritableValues
  /** Replaces the values. */
  assign(values: Float32Array): void
  /** Forgets the gradient. */
  zeroGrad(): void
}

/** Where the model lives. */
export interface TrainingDevice {
  readonly kind: string
  facts(): { name: string; detail: string; totalMemory: number; threads: number; int8Products: boolean }
  /** Bytes. */
  memory(): { inUse: number; peak: number; cached: number }
  resetPeak(): void
  /** Gives memory that is not in use back to the system. */
  trim(): void
}

/** What is known of a model. */
export interface ModelFacts {
  /** On this disk; empty for a model that was made from random numbers. */
  readonly path: string
  /** The path as the user gave it, or the hub id with its commit. */
  readonly reference: string
  readonly config: Pick<
    ModelConfig,
    'maxPositions' | 'vocabularySize' | 'layers' | 'hiddenSize' | 'intermediateSize' | 'json'
  >
  readonly tokenizer: Tokenizer | null
  /** Its weights' names and shapes, and what they are. */
  readonly base: BaseModel
  readonly device: TrainingDevice
  readonly dtype: FloatDType
  /** Absent or null of one whose file has none, or that no file holds. */
  readonly quantised?: QuantisedBase | null
  /** Whether its matrices lie in memory that ranks of this machine share. */
  readonly isShared?: boolean
}

/** What steps and evaluations compute with. */
export interface PassModel extends ForwardModel {
  /** The parts that ranks hold together of the model's weights; absent or null where each has them whole. */
  readonly shards?: ModelShards | null
  /** Keys the dropout masks of the following forward passes; null turns dropout off. */
  setDropout(key: { seed: number; step: number } | null): void
  /** What can be computed if the whole can, and takes less; absent where there is nothing of the kind. */
  trial?(): ForwardModel
}

/** A model's adapters, and the layers that they go to. */
export interface ModelWithAdapters {
  readonly adapterSet: {
    readonly configs: ReadonlyMap<string, AdapterConfigBase>
    activeNames(): string[]
    /** The template of the rows that an adapter is trained on. */
    recordTemplate(name: string, hash: string | undefined): void
  }
  /** Layers that adapters can go to. */
  adaptableLayers(): readonly LayerFacts[]
  addAdapter(name: string, config: AdapterConfigBase, options: { seed: number }): Promise<void> | void
  loadAdapter(
    folder: string,
    name: string,
    options: { allowOtherBase: boolean; offline: boolean; onWarning?: (message: string) => void },
  ): Promise<AdapterConfigBase>
  /** Without `modules`, as an adapter that trains none whole. */
  saveAdapter(name: string, folder: string, options?: { modules?: boolean }): Promise<void>
  /** Adds the adapter's ΔW to the weights for good (unless `merge` is false) and starts it again at zero. */
  restartAdapter(name: string, options: { config: AdapterConfigBase; seed: number; merge?: boolean }): Promise<void>
  /** Adds the ΔW of an adapter in a folder to the weights for good. */
  absorbAdapter(folder: string): Promise<void>
}

export interface TrainableModel extends ModelFacts, PassModel, ModelWithAdapters {
  /** Keeps the model for one run; throws when another has it. */
  holdForTraining(): HeldForTraining
  gradientCheckpointing: boolean
  /** How products with frozen weights are made where gradients are recorded. */
  compute: TrainOptions['compute']
  trainAll(): void
  /** Those of `ids` that the model was, as it looks, never trained for. */
  untrainedTokens(ids: readonly number[]): Promise<readonly number[]>
  trainableParameters(): { name: string; parameter: TrainedParameter }[]
  save(folder: string, options: { dtype: FloatDType; mergeActive?: boolean }): Promise<void>
}

/** What a run needs of its model once it is set up. */
export type SteppedModel = PassModel &
  Pick<ModelFacts, 'device'> &
  Pick<ModelWithAdapters, 'saveAdapter' | 'restartAdapter'> &
  Pick<TrainableModel, 'trainableParameters'>

export interface OptimizerState {
  /** Updates of each parameter's moments, by its name. */
  updates: Record<string, number>
  tensors: { name: string; tensor: StoredValues }[]
}

export interface StepOptions {
  learningRate: number
  /** Multiplies every gradient first. */
  scaleGradients: number
  /** Clips the global norm to this; 0 is no clipping. */
  maxGradNorm: number
}

export interface Optimizer {
  /**
   * Updates every parameter, unless the norm is not finite, and forgets the gradients. Returns the norm before clipping,
   * [1] float32.
   */
  step(options: StepOptions): { item(): Promise<number>; dispose(): void }
  state(): OptimizerState
  load(state: { updates: Readonly<Record<string, number>>; tensors: ReadonlyMap<string, Float32Array> }): void
  /** Trains these from now on: those that were there keep their state, new ones begin without. */
  setParameters(parameters: readonly TrainedParameter[]): void
  dispose(): void
}
