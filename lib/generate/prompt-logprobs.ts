import { packBatch } from '../data/packing.js'
import type { Model, ModelView } from '../models/index.js'
import { type RankedToken, rankTokens } from '../tensor/operations/sampling.js'

/** Rows whose logits exist at once. */
const CHUNK = 64

/**
 * Returns the log-probability of each token of a prompt after the first, given those before it, by a forward pass of its own.
 *
 * @param top length of the lists of likeliest tokens
 */
export async function rankPrompt(
  model: Model | ModelView,
  ids: readonly number[],
  top: number,
): Promise<RankedToken[]> {
  const batch = packBatch([{ ids, mask: new Uint8Array(ids.length), row: 0 }])
  using output = await model.forwardAsync(batch, { gradients: false })
  const ranked: RankedToken[] = []
  for (let from = 0; from < ids.length - 1; from += CHUNK) {
    const to = Math.min(from + CHUNK, ids.length - 1)
    using logits = output.logits(from, to)
    ranked.push(...(await rankTokens(logits, ids.slice(from + 1, to + 1), top)))
  }
  return ranked
}
