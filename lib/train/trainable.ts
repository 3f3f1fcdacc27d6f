/** The interfaces of models, parameters and optimizers for training. `Model`, `Parameter`, `AdamW` and test doubles fit. */

import type { LayerFacts } from '../adapters/contract/adapter.js'
import type { BaseModel } from '../adapters/contract/base-model.js'
import type { AdapterSet } from '../models/adaptation/adapter-set.js'
import type { HeldModel } from '../models/adaptation/training-hold.js'
import type { Model } from '../models/model.js'
import type { ModelConfig } from '../models/network/model-config.js'
import type { ForwardModel } from '../objectives/objective.js'
import type { AdamWStepOptions } from '../optim/adamw.js'
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
  /** Optimizers multiply the learning rate by this; default 1. */
  learningRateRatio?: number
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
  readonly index?: number
  facts(): { name: string; detail: string; totalMemory: number; threads: number; int8Products: boolean }
  /** In bytes. */
  memory(): { inUse: number; peak: number; cached: number }
  resetPeak(): void
  /** Returns unused memory to the system. */
  trim(): void
  /** Resolves once everything that was enqueued is done, or rejects with its first error; absent where nothing is enqueued. */
  synchronize?(): Promise<void>
}

/** Properties of a model. */
export interface ModelFacts
  extends Pick<Model, 'path' | 'reference' | 'tokenizer' | 'dtype'>,
    Partial<Pick<Model, 'quantised'>> {
  readonly base: BaseModel
  /** Whether ranks of this machine share its matrices' memory. */
  readonly isShared?: boolean
  readonly config: Pick<
    ModelConfig,
    'maxPositions' | 'vocabularySize' | 'layers' | 'hiddenSize' | 'intermediateSize' | 'json'
  >
  readonly device: TrainingDevice
}

/** The passes that steps and evaluations compute with; absent `shards` count as null. */
export interface PassModel extends ForwardModel, Pick<Model, 'setDropout'>, Partial<Pick<Model, 'shards'>> {
  /** Returns a smaller model that supports the same operations; absent if there is none. */
  trial?(): ForwardModel
}

/** A model's adapters, and the layers that they can be added to. */
export interface ModelWithAdapters
  extends Pick<Model, 'addAdapter' | 'loadAdapter' | 'saveAdapter' | 'restartAdapter'> {
  /** Adds the ΔW of an adapter in a folder to the weights permanently. */
  absorbAdapter(folder: string): Promise<void>
  readonly adapterSet: Pick<AdapterSet, 'configs' | 'activeNames' | 'recordTemplate' | 'recordPooling'>
  /** Returns the layers that adapters can be added to. */
  adaptableLayers(): readonly LayerFacts[]
}

/** Passes of a run, and how they compute. */
export type RunPasses = PassModel & Pick<Model, 'gradientCheckpointing' | 'compute'>

/** A model that a run holds. */
export interface HeldForRun extends Omit<HeldModel, 'passes'> {
  readonly passes: RunPasses
}

export interface TrainableModel
  extends ModelFacts,
    ModelWithAdapters,
    Partial<Pick<Model, 'shards' | 'labels' | 'addHead' | 'pooling' | 'unsupportedPooling'>>,
    Pick<Model, 'gradientCheckpointing' | 'compute' | 'trainAll' | 'untrainedTokens' | 'save'> {
  holdForTraining(): HeldForRun
  trainableParameters(): { name: string; parameter: TrainedParameter }[]
}

/** The part of a model that a run needs once it is set up, beside its passes. */
export type SteppedModel = Pick<ModelFacts, 'device'> &
  Pick<ModelWithAdapters, 'saveAdapter' | 'restartAdapter'> &
  Pick<TrainableModel, 'trainableParameters'>

export interface OptimizerState {
  /** Number of updates of each parameter's moments, by parameter name. */
  updates: Record<string, number>
  tensors: { name: string; tensor: StoredValues }[]
}

export interface Optimizer {
  /**
   * Updates every parameter, unless the norm is not finite, and discards the gradients. Returns the norm before clipping, [1]
   * float32.
   */
  step(options: Required<AdamWStepOptions>): { item(): Promise<number>; dispose(): void }
  state(): OptimizerState
  /** Returns the names of the parameters whose gradients were all zero, or that had none. */
  withoutGradient(): Promise<string[]>
  load(state: { updates: Readonly<Record<string, number>>; tensors: ReadonlyMap<string, Float32Array> }): void
  /** Sets the trained parameters: known ones keep their state, new ones start without. */
  setParameters(parameters: readonly TrainedParameter[]): void
  /** Calls work while parameters have their averages over steps as values; absent if there are none. */
  withAverages?(work: () => Promise<void>): Promise<void>
  dispose(): void
}
