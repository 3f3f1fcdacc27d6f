import type { Linear } from '../../nn/linear.js'
import { Parameter } from '../../tensor/parameter.js'
import type { WeightSlot } from './weight-slot.js'

/** Trained tensors among weights, and those of active adapters beside layers. */
export function trainedTensors(slots: readonly WeightSlot[], linears: readonly Linear[]): Parameter[] {
  const weights = slots.map(({ current }) => current).filter((weight) => weight instanceof Parameter)
  const adapters = linears.flatMap((linear) => linear.activeAdapters())
  return [...weights, ...adapters.flatMap(({ layer }) => layer.parameters)]
}
