import { native } from '../native.js'
import { Parameter } from '../tensor/parameter.js'
import type { Tensor } from '../tensor/tensor.js'

/** What merging an adapter does to one weight, in place; adds the number of results that are not finite to nonFinite [1]. */
export type WeightEdit = (weight: Tensor, nonFinite: Tensor) => void

/** A module that was trained whole takes the weight's place. */
export function replacement(trained: Parameter): WeightEdit {
  return (weight, nonFinite) => {
    weight.copyFrom(trained)
    native.countNonFinite(weight.native, nonFinite.native, true)
  }
}

/** Changes a weight, and gives the largest absolute change of a value. */
export async function editAndMeasure(weight: Tensor, edit: WeightEdit, nonFinite: Tensor): Promise<number> {
  const before = (await weight.data()) as Float32Array
  edit(weight, nonFinite)
  if (weight instanceof Parameter) weight.version++
  const after = (await weight.data()) as Float32Array
  let largest = 0
  for (let i = 0; i < before.length; i++) largest = Math.max(largest, Math.abs(after[i]! - before[i]!))
  return largest
}
