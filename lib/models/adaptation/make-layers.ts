import type { LayerAdapter } from '../../nn/layer-adapter.js'
import { allOrNothing } from '../../tensor/scope.js'

/**
 * Makes an adapter's layers and passes them on once all exist: before this returns, unless making one is asynchronous. If
 * making a layer or passing them on fails, the layers that exist are disposed.
 */
export function makeLayers<L>(
  targets: readonly L[],
  make: (target: L) => LayerAdapter | Promise<LayerAdapter>,
  attach: (layers: Map<L, LayerAdapter>) => void,
): Promise<void> {
  const attachAll = (layers: readonly LayerAdapter[]) =>
    attach(new Map(targets.map((target, i) => [target, layers[i]!])))
  const pending = allOrNothing(() => {
    const made = targets.map(make)
    if (made.some((layer) => layer instanceof Promise)) return made
    attachAll(made as LayerAdapter[])
    return null
  })
  return pending ? attachLater(pending, attachAll) : Promise.resolve()
}

async function attachLater(
  pending: readonly (LayerAdapter | Promise<LayerAdapter>)[],
  attachAll: (layers: readonly LayerAdapter[]) => void,
): Promise<void> {
  const results = await Promise.allSettled(pending)
  const layers = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  try {
    const failed = results.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
    allOrNothing(() => attachAll(layers))
  } catch (error) {
    for (const layer of layers) layer.dispose()
    throw error
  }
}
