import { native } from '../../native.js'
import type { Parameter } from '../../tensor/parameter.js'
import type { Tensor } from '../../tensor/tensor.js'

/** What merging an adapter does to one weight, in place; adds the number of results that are not finite to nonFinite [1]. */
export type WeightEdit = (weight: Tensor, nonFinite: Tensor) => void

/** A module that was trained whole takes the weight's place. */
export function replacement(trained: Parameter): WeightEdit {
  return (weight, nonFinite) => {
    weight.copyFrom(trained)
    native.countNonFinite(weight.native, nonFinite.native, true)
  }
}
