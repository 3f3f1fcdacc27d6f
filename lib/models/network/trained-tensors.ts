import type { Linear } from '../../nn/linear.js'
import type { Parameter } from '../../tensor/parameter.js'
import type { WeightSlot } from './weight-slot.js'

/** Returns the trained tensors among weights, and those of active adapters of layers. */
export function trainedTensors(slots: readonly WeightSlot[], linears: readonly Linear[]): Parameter[] {
  const weights = slots.flatMap(({ current }) => current.parameter ?? [])
  const adapters = linears.flatMap((linear) => linear.activeAdapters())
  return [...weights, ...adapters.flatMap(({ layer }) => layer.parameters)]
}
