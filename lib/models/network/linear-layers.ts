import type { FloatDType, NativeDevice } from '../../native/addon.js'
import { Linear, LinearGroup } from '../../nn/linear.js'
import type { Shards } from '../../tensor/shards.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { Weight } from '../../tensor/weight.js'
import type { ModelConfig } from './model-config.js'
import type { LinearPlan } from './plan.js'

/** Loads weights by their names in Hugging Face's checkpoints, in the shapes of `weightShapes`. */
export interface WeightLoader {
  /** A matrix, in the model's dtype or as its file stores it. */
  weight(name: string): Weight
  /** A linear layer's bias, in the model's dtype. */
  bias(name: string): Tensor
  /** A small tensor that is always float32, such as a norm's weight. */
  float32(name: string): Tensor
  /** Matrices of one width, stacked in one weight unless they are stored in different formats. */
  fused(names: readonly string[]): { whole: Weight | null; parts: Weight[] }
}

/** The weights that a network is made from. */
export interface NetworkWeights extends WeightLoader {
  readonly config: ModelConfig
  readonly device: NativeDevice
  /** The dtype of activations and frozen weights. */
  readonly dtype: FloatDType
  /** Gathers the matrices where ranks shard them. */
  readonly shards?: Shards | undefined
  /** Whether ranks of this machine share the matrices' memory. */
  readonly isShared?: boolean
}

const biasOf = ({ name, bias }: LinearPlan, weights: WeightLoader): Tensor | null =>
  bias ? weights.bias(`${name}.bias`) : null

export function loadLinear(plan: LinearPlan, weights: WeightLoader): Linear {
  return new Linear(plan.name, weights.weight(`${plan.name}.weight`), biasOf(plan, weights))
}

/** Loads layers that read the same input, with their weights stacked if possible. */
export function loadGroup(plans: readonly LinearPlan[], weights: WeightLoader): LinearGroup {
  const { whole, parts } = weights.fused(plans.map(({ name }) => `${name}.weight`))
  const layers = plans.map((plan, i) => new Linear(plan.name, parts[i]!, biasOf(plan, weights)))
  return new LinearGroup(layers, whole)
}
