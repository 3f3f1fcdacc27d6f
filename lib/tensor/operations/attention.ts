import { type AttentionScoring, native } from '../../native/addon.js'
import { writeByStoring } from '../gradient-writes.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'

/** Shape of grouped-query attention: H query heads, K key-value heads of size E. */
export interface AttentionShape {
  readonly heads: number
  readonly keyValueHeads: number
  readonly headSize: number
}

/** How attention scores, the products of queries and keys, become weights. */
export interface Softmax {
  /** Factor of the scores. */
  readonly scale: number
  /** Sliding window: how many keys a query sees, its own and those before it; null: all. */
  readonly window: number | null
  /** Scaled scores become softcap · tanh(score / softcap) (Gemma 2); null: unchanged. */
  readonly softcap: number | null
}

/** Rotary tables [P, r/2] float32 for the first r elements of a head and each token's position [T] int32. */
export interface RotaryInput {
  readonly cosines: Tensor
  readonly sines: Tensor
  readonly positions: Tensor
  /** The tables of queries, where they are not those of keys. */
  readonly queryCosines?: Tensor
  readonly querySines?: Tensor
}

/** Views of q [T, H, E], k and v [T, K, E] in one matrix [T, (H + 2K) E]. */
export function splitHeads(qkv: Tensor, { heads, keyValueHeads, headSize }: AttentionShape): [Tensor, Tensor, Tensor] {
  const tokens = qkv.shape[0]!
  const strides = [qkv.strides[0]!, headSize, 1]
  const part = (count: number, from: number) => qkv.view([tokens, count, headSize], strides, from * headSize)
  return [part(heads, 0), part(keyValueHeads, heads), part(keyValueHeads, heads + keyValueHeads)]
}

/** Returns the view [T, H + K, E] of q and k, which are adjacent in every row. */
function queriesAndKeys(qkv: Tensor, { heads, keyValueHeads, headSize }: AttentionShape): Tensor {
  return qkv.view([qkv.shape[0]!, heads + keyValueHeads, headSize], [qkv.strides[0]!, headSize, 1])
}

/**
 * Rotary embedding (none where `rotary` is null) and causal attention over packed documents: qkv [T, (H + 2K) E] → [T, H E].
 * offsets [B + 1] int32 are the documents' starts. Rotates q and k in place, so nothing else may use qkv.
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
  if (rotary) rotate(qkv, shape, rotary, false)
  const [q, k, v] = splitHeads(qkv, shape)
  const out = Tensor.empty([tokens, heads * headSize], qkv)
  const lse = Tensor.empty([heads, tokens], { device: qkv.device })
  const byHead = (tensor: Tensor) => tensor.view([tokens, heads, headSize])
  const headsOut = byHead(out)
  native.attention({
    q: q.native,
    k: k.native,
    v: v.native,
    queryOffsets: offsets.native,
    keyOffsets: offsets.native,
    scoring,
    out: headsOut.native,
    lse: lse.native,
  })

  // A view, because a node that saves its own output is never freed without a backward pass.
  const tables = Object.entries(rotary ?? {}) as [keyof RotaryInput, Tensor][]
  const saved = [qkv, out.view(out.shape), lse, offsets, ...tables.map(([, table]) => table)]
  return record(out, [qkv], saved, (dOut, [savedQkv, o, l, starts, ...savedTables], [dQkv]) => {
    const forward = splitHeads(savedQkv!, shape)
    writeByStoring(dQkv!, (target) => {
      const [dQ, dK, dV] = splitHeads(target, shape)
      const views = [byHead(dOut), byHead(o!), ...forward, dQ, dK, dV]
      const [dO, oHeads, fq, fk, fv] = views.map((view) => view.native)
      const offset = starts!.native
      native.attentionBackward({
        dOut: dO!,
        q: fq!,
        k: fk!,
        v: fv!,
        out: oHeads!,
        lse: l!.native,
        queryOffsets: offset,
        keyOffsets: offset,
        scoring,
        dQ: dQ.native,
        dK: dK.native,
        dV: dV.native,
      })
      if (!rotary) return
      const input = Object.fromEntries(tables.map(([name], i) => [name, savedTables[i]!])) as unknown as RotaryInput
      rotate(target, shape, input, true)
    })
  })
}

/** The key-value cache of one document, with the number of tokens before and with the new ones. */
interface KeyValueStore {
  /** Keys and values [capacity, 2 K, E]. */
  readonly store: Tensor
  /** Rows of the store for the new tokens: their positions in the document, [T] int32. */
  readonly positions: Tensor
  /** 0 and the number of new tokens, and, in `keyOffsets`, 0 and the number of all tokens; [2] int32. */
  readonly queryOffsets: Tensor
  readonly keyOffsets: Tensor
}

/**
 * Attention of a document's new tokens over all its tokens: qkv [T, (H + 2K) E] → [T, H E]. Adds the new keys and values to
 * the store. No gradients.
 */
export function attentionWithCache(
  qkv: Tensor,
  shape: AttentionShape,
  rotary: RotaryInput | null,
  { store, positions, queryOffsets, keyOffsets }: KeyValueStore,
  softmax: Softmax = plainSoftmax(shape),
): Tensor {
  const { heads, keyValueHeads, headSize } = shape
  const [tokens, stride] = [qkv.shape[0]!, qkv.strides[0]!]
  if (rotary) rotate(qkv, shape, rotary, false)
  const width = 2 * keyValueHeads * headSize
  const fresh = qkv.view([tokens, width], [stride, 1], heads * headSize)
  native.scatterRows(fresh.native, positions.native, store.view([store.shape[0]!, width]).native)
  const headsOf = (tensor: Tensor, count: number, rowStride: number, offset: number) =>
    tensor.view([tensor.shape[0]!, count, headSize], [rowStride, headSize, 1], offset)
  const [keys, values] = [0, keyValueHeads].map((head) => headsOf(store, keyValueHeads, width, head * headSize)) as [
    Tensor,
    Tensor,
  ]
  const out = Tensor.empty([tokens, heads * headSize], qkv)
  native.attention({
    q: headsOf(qkv, heads, stride, 0).native,
    k: keys.native,
    v: values.native,
    queryOffsets: queryOffsets.native,
    keyOffsets: keyOffsets.native,
    scoring: scoringOf(softmax),
    out: out.view([tokens, heads, headSize]).native,
  })
  return out
}

/** Applies the rotary embedding to q and k in qkv [T, (H + 2K) E], in place; `inverse` is its transpose. */
function rotate(qkv: Tensor, shape: AttentionShape, rotary: RotaryInput, inverse: boolean): void {
  const { positions, cosines, sines, queryCosines, querySines } = rotary
  const turn = (heads: Tensor, cosine: Tensor, sine: Tensor) =>
    native.rope(heads.native, positions.native, cosine.native, sine.native, inverse)
  if (queryCosines && querySines) {
    const [q, k] = splitHeads(qkv, shape)
    turn(q, queryCosines, querySines)
    turn(k, cosines, sines)
  } else {
    turn(queriesAndKeys(qkv, shape), cosines, sines)
  }
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
