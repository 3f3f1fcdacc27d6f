import type { LayerFacts } from '../../adapters/contract/adapter.js'
import type { LoadedAdapter } from '../../adapters/files/read-layers.js'
import { native } from '../../native/addon.js'
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

/** What merging an adapter that was read does, by the names of weights. */
export function editsOf({ layers, modules }: LoadedAdapter<LayerFacts>): Map<string, WeightEdit> {
  const edits = new Map<string, WeightEdit>()
  for (const [{ name }, layer] of layers)
    edits.set(`${name}.weight`, (weight, nonFinite) => layer.mergeInto(weight, 1, nonFinite))
  for (const [name, parameter] of modules) edits.set(name, replacement(parameter))
  return edits
}
