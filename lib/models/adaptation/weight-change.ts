import type { LayerFacts } from '../../adapters/contract/adapter.js'
import { type NativeDevice, native } from '../../native/addon.js'
import type { LayerAdapter } from '../../nn/layer-adapter.js'
import { keep, scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { ModelSource } from '../read/model-source.js'

/** Returns ΔW of an adapter, merged weight - weight [outFeatures, inFeatures], in float32. */
export async function weightChange(
  source: ModelSource,
  { name, inFeatures, outFeatures }: LayerFacts,
  layer: LayerAdapter,
  device: NativeDevice,
): Promise<Float32Array> {
  const shape = [outFeatures, inFeatures]
  using nonFinite = keep(Tensor.zeros([1], { device, dtype: 'int32' })) // never read: non-finite values show in the result
  using change = keep(
    scope(() => {
      const [weight, merged] = [Tensor.empty(shape, { device }), Tensor.empty(shape, { device })]
      source.loadInto(`${name}.weight`, weight)
      merged.copyFrom(weight)
      layer.mergeInto(merged, 1, nonFinite)
      native.add(weight.native, merged.native, -1)
      return merged
    }),
  )
  return await change.data()
}
