/** The interfaces of models, parameters and optimizers for training. `Model`, `Parameter`, `AdamW` and test doubles fit. */

import type { AdapterConfigBase, LayerFacts } from '../adapters/contract/adapter.js'
import type { BaseModel } from '../adapters/contract/base-model.js'
import type { Tokenizer } from '../data/tokenizer/tokenizer.js'
import type { HeldModel } from '../models/adaptation/training-hold.js'
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
  /** The values, while passes that only read them go on; absent or null if such passes have to end first. */
  dataAtOnce?(): Float32Array | null
}

/** Values whose memory is freed by the last `release`. */
export interface HeldValues extends StoredValues {
  retain(): unknown
  release(): void
}

/** A float32 tensor that the optimizer updates. */
export interface TrainedParameter extends StoredValues {
  readonly name: string
  /** The accumulated gradient; null if no backward pass has reached the parameter. */
  readonly grad: (HeldValues & WritableValues) | null
  /** Returns the gradient, created as zeros if there is none. */
  ensureGrad(): WritableValues
  /** Replaces the values. */
  assign(values: Float32Array): void
  /** Discards the gradient. */
  zeroGrad(): void
}

/** The device of the model. */
export interface TrainingDevice {
  readonly kind: string
  facts(): { name: string; detail: string; totalMemory: number; threads: number; int8Products: boolean }
  /** In bytes. */
  memory(): { inUse: number; peak: number; cached: number }
  resetPeak(): void
  /** Returns unused memory to the system. */
  trim(): void
}

/** Properties of a model. */
export interface ModelFacts {
  /** Its local path; empty for a model that was made from random numbers. */
  readonly path: string
  /** The path as the user gave it, or the hub id with its commit. */
  readonly reference: string
  readonly config: Pick<
    ModelConfig,
    'maxPositions' | 'vocabularySize' | 'layers' | 'hiddenSize' | 'intermediateSize' | 'json'
  >
  readonly tokenizer: Tokenizer | null
  /** Names and shapes of its weights, and its identity. */
  readonly base: BaseModel
  readonly device: TrainingDevice
  readonly dtype: FloatDType
  /** Absent or null if its file has no quantised weights, or if it has no file. */
  readonly quantised?: QuantisedBase | null
  /** Whether its matrices are in memory that the ranks of this machine share. */
  readonly isShared?: boolean
}

/** The part of a model that steps and evaluations compute with. */
export interface PassModel extends ForwardModel {
  /** The sharding of the model's weights over ranks; absent or null if each rank has all weights. */
  readonly shards?: ModelShards | null
  /** Sets the key of the dropout masks of the following forward passes; null turns dropout off. */
  setDropout(key: { seed: number; step: number } | null): void
  /** Returns a smaller model that supports the same operations; absent if there is none. */
  trial?(): ForwardModel
}

/** A model's adapters, and the layers that they can be added to. */
export interface ModelWithAdapters {
  readonly adapterSet: {
    readonly configs: ReadonlyMap<string, AdapterConfigBase>
    activeNames(): string[]
    /** Records the template of the rows that an adapter is trained on. */
    recordTemplate(name: string, hash: string | undefined): void
  }
  /** Returns the layers that adapters can be added to. */
  adaptableLayers(): readonly LayerFacts[]
  addAdapter(name: string, config: AdapterConfigBase, options: { seed: number }): Promise<void> | void
  loadAdapter(
    folder: string,
    name: string,
    options: { allowOtherBase: boolean; offline: boolean; onWarning?: (message: string) => void },
  ): Promise<AdapterConfigBase>
  /** Writes an adapter; with `modules` false, without the modules that are trained whole. */
  saveAdapter(name: string, folder: string, options?: { modules?: boolean }): Promise<void>
  /** Adds the adapter's ΔW to the weights permanently (unless `merge` is false) and resets it to zero. */
  restartAdapter(name: string, options: { config: AdapterConfigBase; seed: number; merge?: boolean }): Promise<void>
  /** Adds the ΔW of an adapter in a folder to the weights permanently. */
  absorbAdapter(folder: string): Promise<void>
}

export interface TrainableModel extends ModelFacts, PassModel, ModelWithAdapters {
  /** Reserves the model for one run; throws if another run has it. */
  holdForTraining(): HeldModel
  gradientCheckpointing: boolean
  /** How products with frozen weights are computed while gradients are recorded. */
  compute: TrainOptions['compute']
  trainAll(): void
  /** Returns the ids whose rows of frozen embeddings or a frozen head look untrained. */
  untrainedTokens(ids: readonly number[]): Promise<readonly number[]>
  trainableParameters(): { name: string; parameter: TrainedParameter }[]
  save(folder: string, options: { dtype: FloatDType; mergeActive?: boolean }): Promise<void>
}

/** The part of a model that a run needs once it is set up. */
export type SteppedModel = PassModel &
  Pick<ModelFacts, 'device'> &
  Pick<ModelWithAdapters, 'saveAdapter' | 'restartAdapter'> &
  Pick<TrainableModel, 'trainableParameters'>

export interface OptimizerState {
  /** Number of updates of each parameter's moments, by parameter name. */
  updates: Record<string, number>
  tensors: { name: string; tensor: StoredValues }[]
}

export interface StepOptions {
  learningRate: number
  /** A factor that every gradient is multiplied by first. */
  scaleGradients: number
  /** Clips the global norm to this; 0 means no clipping. */
  maxGradNorm: number
}

export interface Optimizer {
  /**
   * Updates every parameter, unless the norm is not finite, and discards the gradients. Returns the norm before clipping, [1]
   * float32.
   */
  step(options: StepOptions): { item(): Promise<number>; dispose(): void }
  state(): OptimizerState
  load(state: { updates: Readonly<Record<string, number>>; tensors: ReadonlyMap<string, Float32Array> }): void
  /** Sets the trained parameters: known ones keep their state, new ones start without. */
  setParameters(parameters: readonly TrainedParameter[]): void
  dispose(): void
}
