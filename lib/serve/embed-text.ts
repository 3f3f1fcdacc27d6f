import { packBatch } from '../data/packing.js'
import type { Model } from '../models/index.js'
import { poolingOf } from '../nn/pooling.js'
import { pooledStates } from '../objectives/pooling.js'

/**
 * Returns the embedding [D] of a text: its hidden states after the final norm, pooled as the adapter or the model says, else by their
 * mean, and scaled to length 1.
 */
export async function embedText(
  model: Model,
  ids: readonly number[],
  adapters: readonly string[],
): Promise<Float32Array> {
  const batch = packBatch([{ ids, mask: new Uint8Array(ids.length), row: 0 }])
  const view = model.withAdapters(adapters)
  const [ofAdapter] = adapters.flatMap((name) => model.adapterSet.provenance(name).pooling ?? [])
  using states = await pooledStates(view, batch, ofAdapter ?? poolingOf(view), false)
  return (await states.data()) as Float32Array
}
