import type { LayerAdapter } from '../nn/layer-adapter.js'

/**
 * Makes an adapter's layers, and hands them on when all are there: before this returns, unless making one is a promise. When
 * one fails, those that were made are disposed of.
 */
export function makeLayers<L>(
  targets: readonly L[],
  make: (target: L) => LayerAdapter | Promise<LayerAdapter>,
  attach: (layers: Map<L, LayerAdapter>) => void,
): Promise<void> {
  const layers: LayerAdapter[] = []
  const pending: Promise<LayerAdapter>[] = []
  try {
    for (const target of targets) {
      const made = make(target)
      if (made instanceof Promise) pending.push(made)
      else layers.push(made)
    }
  } catch (error) {
    disposeAll(layers)
    throw error
  }
  const finish = (all: readonly LayerAdapter[]) => attach(new Map(targets.map((target, i) => [target, all[i]!])))
  if (pending.length > 0) return everyOf(pending).then(finish)
  finish(layers)
  return Promise.resolve()
}

async function everyOf(pending: readonly Promise<LayerAdapter>[]): Promise<LayerAdapter[]> {
  const results = await Promise.allSettled(pending)
  const layers = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const failed = results.find((result) => result.status === 'rejected')
  if (!failed) return layers
  disposeAll(layers)
  throw failed.reason
}

function disposeAll(layers: readonly LayerAdapter[]): void {
  for (const layer of layers) layer.dispose()
}
