import type { BaseModel } from '../../adapters/contract/base-model.js'
import type { FloatDType, NativeDevice } from '../../native/addon.js'
import type { Linear } from '../../nn/linear.js'
import type { WeightSlot } from '../network/weight-slot.js'
import type { ModelSource } from '../read/model-source.js'

/** A model as its adapters see it. */
export interface AdaptedModel {
  readonly device: NativeDevice
  /** The dtype of activations. */
  readonly dtype: FloatDType
  readonly base: BaseModel
  /** Null for a model that was made from random numbers. */
  readonly source: ModelSource | null
  /** Every weight, in the order of the checkpoint. */
  readonly slots: readonly WeightSlot[]
  /** A weight by its name in Hugging Face's checkpoints. */
  slot(name: string): WeightSlot
  /** Every layer that an adapter can go to. */
  adaptableLayers(): Linear[]
}
