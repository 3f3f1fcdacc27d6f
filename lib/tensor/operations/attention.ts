import { type AttentionScoring, native } from '../../native.js'
import { writeByStoring } from '../gradient-writes.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'

/** Shape of grouped-query attention: H query heads, K key-value heads of size E. */
export interface AttentionShape {
  readonly heads: number
  readonly keyValueHeads: number
  readonly headSize: number
}

/** How a query's products with keys become weights. */
export interface Softmax {
  /** Products are multiplied by this. */
  readonly scale: number
  /** How many keys a query sees: its own and those before it; null: all. */
  readonly window: number | null
  /** Scaled products become softcap · tanh(product / softcap) (Gemma 2); null: they stay. */
  readonly softcap: number | null
}

/** Rotary tables [P, r/2] float32 for the first r elements of a head and each token's position [T] int32. */
export interface RotaryInput {
  readonly cosines: Tensor
  readonly sines: Tensor
  readonly positions: Tensor
}

/** Views of q [T, H, E], k and v [T, K, E] in one matrix [T, (H + 2K) E]. */
export function splitHeads(qkv: Tensor, { heads, keyValueHeads, headSize }: AttentionShape): [Tensor, Tensor, Tensor] {
  const tokens = qkv.shape[0]!
  const strides = [qkv.strides[0]!, headSize, 1]
  const part = (count: number, from: number) => qkv.view([tokens, count, headSize], strides, from * headSize)
  return [part(heads, 0), part(keyValueHeads, heads), part(keyValueHeads, heads + keyValueHeads)]
}

/**
 * Rotary embedding (none where `rotary` is null) and causal attention over packed documents: qkv [T, (H + 2K) E] → [T, H E].
 * offsets [B + 1] int32 are the documents' starts. Rotates q and k in place, so qkv must be used by nobody else.
 */
export function selfAttention(
  qkv: Tensor,
  shape: AttentionShape,
  rotary: RotaryInput | null,
  offsets: Tensor,
  softmax: Softmax = plainSoftmax(shape),
): Tensor {
  const { heads, headSize } = shape
  const tokens = qkv.shape[0]!
  const scoring = scoringOf(softmax)
  const [q, k, v] = splitHeads(qkv, shape)
  rotate([q, k], rotary, false)
  const out = Tensor.empty([tokens, heads * headSize], qkv)
  const lse = Tensor.empty([heads, tokens], { device: qkv.device })
  const byHead = (tensor: Tensor) => tensor.view([tokens, heads, headSize])
  const headsOut = byHead(out)
  native.attention(q.native, k.native, v.native, offsets.native, offsets.native, scoring, headsOut.native, lse.native)

  // A view: a node that held its own output would never be freed without a backward pass.
  const tables = rotary ? [rotary.positions, rotary.cosines, rotary.sines] : []
  const saved = [qkv, out.view(out.shape), lse, offsets, ...tables]
  return record(out, [qkv], saved, (dOut, [savedQkv, o, l, starts, positions, cosines, sines], [dQkv]) => {
    const forward = splitHeads(savedQkv!, shape)
    writeByStoring(dQkv!, (target) => {
      const [dQ, dK, dV] = splitHeads(target, shape)
      const views = [byHead(dOut), byHead(o!), ...forward, dQ, dK, dV]
      const [dO, oHeads, fq, fk, fv] = views.map((view) => view.native)
      const offset = starts!.native
      native.attentionBackward(
        dO!,
        fq!,
        fk!,
        fv!,
        oHeads!,
        l!.native,
        offset,
        offset,
        scoring,
        dQ.native,
        dK.native,
        dV.native,
      )
      if (positions) rotate([dQ, dK], { positions, cosines: cosines!, sines: sines! }, true)
    })
  })
}

/**
 * Attention of new tokens of one document over a cache: qkv [T, (H + 2K) E]; their keys and values are stored at `start`
 * of keys and values [capacity, K, E]. → [T, H E]. No gradients.
 */
export function attentionWithCache(
  qkv: Tensor,
  shape: AttentionShape,
  rotary: RotaryInput | null,
  cache: { readonly keys: Tensor; readonly values: Tensor },
  start: number,
  softmax: Softmax = plainSoftmax(shape),
): Tensor {
  const { heads, headSize } = shape
  const { device } = qkv
  const tokens = qkv.shape[0]!
  const [q, k, v] = splitHeads(qkv, shape)
  rotate([q, k], rotary, false)
  native.copy(k.native, cache.keys.rows(start, start + tokens).native, 1)
  native.copy(v.native, cache.values.rows(start, start + tokens).native, 1)
  const [keys, values] = [cache.keys.rows(0, start + tokens), cache.values.rows(0, start + tokens)]
  const offsets = (length: number) => Tensor.from(Int32Array.of(0, length), [2], { device, dtype: 'int32' }).native
  const out = Tensor.empty([tokens, heads * headSize], qkv)
  const headsOut = out.view([tokens, heads, headSize]).native
  native.attention(
    q.native,
    keys.native,
    values.native,
    offsets(tokens),
    offsets(start + tokens),
    scoringOf(softmax),
    headsOut,
    null,
  )
  return out
}

function rotate(parts: readonly Tensor[], rotary: RotaryInput | null, inverse: boolean): void {
  if (!rotary) return
  const { positions, cosines, sines } = rotary
  for (const part of parts) native.rope(part.native, positions.native, cosines.native, sines.native, inverse)
}

const plainSoftmax = ({ headSize }: AttentionShape): Softmax => ({
  scale: 1 / Math.sqrt(headSize),
  window: null,
  softcap: null,
})

const scoringOf = ({ scale, window, softcap }: Softmax): AttentionScoring => ({
  scale,
  window: window ?? 0,
  softcap: softcap ?? 0,
})
