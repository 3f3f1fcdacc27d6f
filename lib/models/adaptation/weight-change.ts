import type { LayerFacts } from '../../adapters/contract/adapter.js'
import { type NativeDevice, native } from '../../native/addon.js'
import type { LayerAdapter } from '../../nn/layer-adapter.js'
import { keep, scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { ModelSource } from '../read/model-source.js'

/** Returns the change of a layer's weight, new - old [outFeatures, inFeatures], in float32. `change` turns the old into the new. */
async function weightChange(
  source: ModelSource,
  { name, inFeatures, outFeatures }: LayerFacts,
  device: NativeDevice,
  change: (weight: Tensor, nonFinite: Tensor) => void,
): Promise<Float32Array> {
  const shape = [outFeatures, inFeatures]
  using nonFinite = keep(Tensor.zeros([1], { device, dtype: 'int32' })) // never read: non-finite values show in the result
  using difference = keep(
    scope(() => {
      const [before, after] = [Tensor.empty(shape, { device }), Tensor.empty(shape, { device })]
      source.loadInto(`${name}.weight`, before)
      after.copyFrom(before)
      change(after, nonFinite)
      native.add(before.native, after.native, -1)
      return after
    }),
  )
  return await difference.data()
}

/** Returns ΔW of an adapter, merged weight - weight. */
export function changeByAdapter(source: ModelSource, facts: LayerFacts, layer: LayerAdapter, device: NativeDevice) {
  return weightChange(source, facts, device, (weight, nonFinite) => layer.mergeInto(weight, 1, nonFinite))
}

/** Returns ΔW of a model that has layers of the same shape, its weight - weight. */
export function changeByModel(source: ModelSource, facts: LayerFacts, after: ModelSource, device: NativeDevice) {
  return weightChange(source, facts, device, (weight) => after.loadInto(`${facts.name}.weight`, weight))
}
