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

/** The softmax of attention scores, which are products of queries and keys. */
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
  /** The tables of queries, if they differ from the tables of keys. */
  readonly queryCosines?: Tensor
  readonly querySines?: Tensor
}

/** Views of q [T, H, E], k and v [T, K, E] in one matrix [T, (H + 2K) E]. */
function splitHeads(qkv: Tensor, { heads, keyValueHeads, headSize }: AttentionShape): Parts {
  const part = (from: number, count: number) => headsOf(qkv, headSize, from, count)
  return [part(0, heads), part(heads, keyValueHeads), part(heads + keyValueHeads, keyValueHeads)]
}

/** Views k and v [T, K, E] in one matrix [T, 2K E]. */
function splitKeysValues(kv: Tensor, { keyValueHeads, headSize }: AttentionShape): [Tensor, Tensor] {
  return [headsOf(kv, headSize, 0, keyValueHeads), headsOf(kv, headSize, keyValueHeads, keyValueHeads)]
}

/** Views `count` heads of each row of x [T, . E] as [T, count, E]. */
function headsOf(x: Tensor, headSize: number, from = 0, count = x.shape[1]! / headSize): Tensor {
  return x.view([x.shape[0]!, count, headSize], [x.strides[0]!, headSize, 1], from * headSize)
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
  if (rotary) rotate(qkv, shape, rotary, false)
  const { out, lse } = attended(splitHeads(qkv, shape), offsets, softmax)
  // A view, because a node that saves its own output is never freed without a backward pass.
  const tables = tablesOf(rotary)
  const saved = [qkv, out.view(out.shape), lse, offsets, ...Object.values(tables)]
  return record(out, [qkv], saved, (dOut, [savedQkv, o, l, starts, ...savedTables], [dQkv]) => {
    writeByStoring(dQkv!, (target) => {
      const forward = { parts: splitHeads(savedQkv!, shape), out: o!, lse: l!, offsets: starts! }
      attendedBackward(dOut, forward, splitHeads(target, shape), softmax)
      if (rotary) rotate(target, shape, tablesFrom(tables, savedTables), true)
    })
  })
}

/**
 * Rotary embedding of the first `heads` heads of x [T, . E], in x's memory: x must be the result of the operation before, with
 * no other use. `as` selects the tables, which may differ between queries and keys.
 */
export function rotated(x: Tensor, heads: number, headSize: number, rotary: RotaryInput, as: 'query' | 'key'): Tensor {
  const tables = tablesOf(rotary)
  const rotateInto = (target: Tensor, input: RotaryInput, inverse: boolean) => {
    const isQuery = as === 'query' && input.queryCosines && input.querySines
    const [cosines, sines] = isQuery ? [input.queryCosines!, input.querySines!] : [input.cosines, input.sines]
    const turning = headsOf(target, headSize, 0, heads)
    native.rope(turning.native, input.positions.native, cosines.native, sines.native, inverse)
  }
  rotateInto(x, rotary, false)
  return record(x.view(x.shape, x.strides), [x], Object.values(tables), (dY, savedTables, [dX]) => {
    writeByStoring(dX!, (target) => {
      native.copy(dY.native, target.native, 1)
      rotateInto(target, tablesFrom(tables, savedTables), true)
    })
  })
}

/**
 * Causal attention of queries q [T, H E] to keys and values kv [T, 2K E] of the same documents, all of them rotated: [T, H E].
 */
export function attentionTo(q: Tensor, kv: Tensor, shape: AttentionShape, offsets: Tensor, softmax: Softmax): Tensor {
  const split = (queries: Tensor, others: Tensor): Parts => [
    headsOf(queries, shape.headSize),
    ...splitKeysValues(others, shape),
  ]
  const { out, lse } = attended(split(q, kv), offsets, softmax)
  const saved = [q, kv, out.view(out.shape), lse, offsets]
  return record(out, [q, kv], saved, (dOut, [queries, others, o, l, starts], [dQ, dKv]) => {
    const gradients = [queries!, others!].map((input) => Tensor.empty(input.shape, input)) as [Tensor, Tensor]
    const forward = { parts: split(queries!, others!), out: o!, lse: l!, offsets: starts! }
    attendedBackward(dOut, forward, split(...gradients), softmax)
    for (const [i, target] of [dQ!, dKv!].entries()) if (target.needed) target.pass(gradients[i]!)
  })
}

/** q [T, H, E], k and v [T, K, E] */
type Parts = [q: Tensor, k: Tensor, v: Tensor]

interface Attended {
  /** [T, H E] */
  readonly out: Tensor
  /** Logarithms of the sums of the softmax, [H, T] float32. */
  readonly lse: Tensor
}

function attended([q, k, v]: Parts, offsets: Tensor, softmax: Softmax): Attended {
  const [tokens, heads, headSize] = q.shape as [number, number, number]
  const out = Tensor.empty([tokens, heads * headSize], q)
  const lse = Tensor.empty([heads, tokens], { device: q.device })
  native.attention({
    q: q.native,
    k: k.native,
    v: v.native,
    queryOffsets: offsets.native,
    keyOffsets: offsets.native,
    scoring: scoringOf(softmax),
    out: headsOf(out, headSize).native,
    lse: lse.native,
  })
  return { out, lse }
}

/** Writes the gradients of q, k and v. */
function attendedBackward(
  dOut: Tensor,
  { parts: [q, k, v], out, lse, offsets }: Attended & { readonly parts: Parts; readonly offsets: Tensor },
  [dQ, dK, dV]: Parts,
  softmax: Softmax,
): void {
  const headSize = q.shape[2]!
  native.attentionBackward({
    dOut: headsOf(dOut, headSize).native,
    q: q.native,
    k: k.native,
    v: v.native,
    out: headsOf(out, headSize).native,
    lse: lse.native,
    queryOffsets: offsets.native,
    keyOffsets: offsets.native,
    scoring: scoringOf(softmax),
    dQ: dQ.native,
    dK: dK.native,
    dV: dV.native,
  })
}

/** The keys and values of documents, and the places of their tokens, as in `MemoryPlaces`. */
interface KeyValueStore {
  /** Keys and values [capacity, 2 K, E]. */
  readonly store: Tensor
  /** Rows of the store for the new tokens, [T] int32. */
  readonly rows: Tensor
  /** Starts of each document's new tokens and, in `keyOffsets`, of all its tokens, with the end of the last; [B + 1] int32. */
  readonly queryOffsets: Tensor
  readonly keyOffsets: Tensor
  /** Rows of the store for all tokens, int32; null: rows 0, 1, … */
  readonly keyRows: Tensor | null
}

/**
 * Attention of documents' new tokens over all their tokens: qkv [T, (H + 2K) E] → [T, H E]. Adds the new keys and values to
 * the store. No gradients.
 */
export function attentionWithCache(
  qkv: Tensor,
  shape: AttentionShape,
  rotary: RotaryInput | null,
  seen: KeyValueStore,
  softmax: Softmax = plainSoftmax(shape),
): Tensor {
  const { heads, headSize } = shape
  if (rotary) rotate(qkv, shape, rotary, false)
  storeKeysValues(qkv.columns(heads * headSize, qkv.shape[1]!), seen)
  return attentionToStore(qkv.columns(0, heads * headSize), shape, seen, softmax)
}

/** Adds documents' new keys and values kv [T, 2K E], rotated, to the store. */
export function storeKeysValues(kv: Tensor, { store, rows }: KeyValueStore): void {
  native.scatterRows(kv.native, rows.native, store.view([store.shape[0]!, kv.shape[1]!]).native)
}

/** Attention of documents' new queries q [T, H E], rotated, to the keys and values in the store: [T, H E]. No gradients. */
export function attentionToStore(
  q: Tensor,
  shape: AttentionShape,
  { store, queryOffsets, keyOffsets, keyRows }: KeyValueStore,
  softmax: Softmax,
): Tensor {
  const { keyValueHeads, headSize } = shape
  const [keys, values] = splitKeysValues(store.view([store.shape[0]!, 2 * keyValueHeads * headSize]), shape)
  const out = Tensor.empty(q.shape, q)
  native.attention({
    q: headsOf(q, headSize).native,
    k: keys.native,
    v: values.native,
    queryOffsets: queryOffsets.native,
    keyOffsets: keyOffsets.native,
    scoring: scoringOf(softmax),
    out: headsOf(out, headSize).native,
    keyRows: keyRows?.native ?? null,
  })
  return out
}

/** Applies the rotary embedding to q and k in qkv [T, (H + 2K) E], in place; `inverse` is its transpose. */
function rotate(qkv: Tensor, shape: AttentionShape, rotary: RotaryInput, inverse: boolean): void {
  const { positions, cosines, sines, queryCosines, querySines } = rotary
  const rotateHeads = (heads: Tensor, cosine: Tensor, sine: Tensor) =>
    native.rope(heads.native, positions.native, cosine.native, sine.native, inverse)
  if (queryCosines && querySines) {
    const [q, k] = splitHeads(qkv, shape)
    rotateHeads(q, queryCosines, querySines)
    rotateHeads(k, cosines, sines)
  } else {
    rotateHeads(headsOf(qkv, shape.headSize, 0, shape.heads + shape.keyValueHeads), cosines, sines)
  }
}

/** The tensors of rotary tables, to be saved for the backward pass. */
const tablesOf = (rotary: RotaryInput | null): Record<string, Tensor> => ({ ...rotary })

const tablesFrom = (tables: Record<string, Tensor>, saved: readonly Tensor[]): RotaryInput =>
  Object.fromEntries(Object.keys(tables).map((name, i) => [name, saved[i]!])) as unknown as RotaryInput

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
