import { native } from '../../../lib/native/addon.js'
import { type OperationCase, operationCase } from '../harness.js'
import { Host, sum } from '../host.js'

interface Packed {
  /** Queries and keys of each document. */
  documents: readonly (readonly [number, number])[]
  heads: number
  keyValueHeads: number
  headSize: number
  /** Maximum keys that a query sees, and the cap of scores; 0 or undefined for none. */
  window?: number
  softcap?: number
}

/**
 * Softmax weights [Tq] × [keys] of one head, with the logarithm of each sum and the slopes of the cap; query i sees keys up
 * to i + keys - queries, the last of them in its window. `from` is the first key that it sees.
 */
function attend(packed: Packed, q: Host, k: Host, scale: number) {
  const { documents, heads, keyValueHeads, headSize, window = 0, softcap = 0 } = packed
  const rows: { query: number; head: number; from: number; weights: number[]; slopes: number[]; lse: number }[] = []
  let [query0, key0] = [0, 0]
  for (const [queries, keys] of documents) {
    for (let i = 0; i < queries; i++) {
      for (let head = 0; head < heads; head++) {
        const shared = Math.floor(head / (heads / keyValueHeads))
        const seen = Math.max(0, i + 1 + keys - queries)
        const from = key0 + (window > 0 ? Math.max(0, seen - window) : 0)
        const product = (j: number) =>
          scale * sum(headSize, (e) => q.at(query0 + i, head, e) * k.at(from + j, shared, e))
        const products = Array.from({ length: key0 + seen - from }, (_, j) => product(j))
        const scores = products.map((value) => (softcap > 0 ? softcap * Math.tanh(value / softcap) : value))
        const slopes = scores.map((value) => (softcap > 0 ? 1 - (value / softcap) ** 2 : 1))
        const most = Math.max(...scores)
        const lse = most + Math.log(scores.reduce((total, s) => total + Math.exp(s - most), 0))
        rows.push({ query: query0 + i, head, from, weights: scores.map((s) => Math.exp(s - lse)), slopes, lse })
      }
    }
    query0 += queries
    key0 += keys
  }
  return rows
}

/** The result of attention, and the logarithms of its sums. */
function attendedOutput(packed: Packed, q: Host, k: Host, v: Host, scale: number) {
  const { heads, keyValueHeads, headSize } = packed
  const [out, lse] = [new Host(q.shape), new Host([heads, q.shape[0]!])]
  for (const row of attend(packed, q, k, scale)) {
    const shared = Math.floor(row.head / (heads / keyValueHeads))
    lse.set(row.lse, row.head, row.query)
    for (let e = 0; e < headSize; e++) {
      const value = sum(row.weights.length, (j) => row.weights[j]! * v.at(row.from + j, shared, e))
      out.set(value, row.query, row.head, e)
    }
  }
  return { out, lse }
}

const offsets = (lengths: readonly number[]): number[] => {
  const starts = [0]
  for (const length of lengths) starts.push(starts.at(-1)! + length)
  return starts
}

function facts(packed: Packed) {
  const queryOffsets = offsets(packed.documents.map(([queries]) => queries))
  const keyOffsets = offsets(packed.documents.map(([, keys]) => keys))
  const { heads, keyValueHeads, headSize, window = 0, softcap = 0 } = packed
  const [queries, keys] = [queryOffsets.at(-1)!, keyOffsets.at(-1)!]
  const limits = `${window ? `, a window of ${window}` : ''}${softcap ? `, a softcap of ${softcap}` : ''}`
  const name = `documents ${JSON.stringify(packed.documents)}, ${heads}/${keyValueHeads} heads of ${headSize}${limits}`
  return { queryOffsets, keyOffsets, queries, keys, name, scoring: { scale: 1 / Math.sqrt(headSize), window, softcap } }
}

const even = (...lengths: number[]) => lengths.map((length) => [length, length] as const)

const shapes: Packed[] = [
  { documents: even(1), heads: 1, keyValueHeads: 1, headSize: 2 },
  { documents: even(5), heads: 2, keyValueHeads: 2, headSize: 4 },
  { documents: even(3, 1, 17), heads: 4, keyValueHeads: 2, headSize: 16 },
  { documents: even(7, 13), heads: 3, keyValueHeads: 1, headSize: 5 },
  { documents: even(2, 0, 9), heads: 6, keyValueHeads: 3, headSize: 33 },
  { documents: [], heads: 2, keyValueHeads: 1, headSize: 8 },
  { documents: even(150, 67), heads: 2, keyValueHeads: 1, headSize: 64 },
  { documents: even(3, 1, 17), heads: 4, keyValueHeads: 2, headSize: 16, window: 4 },
  { documents: even(7, 13), heads: 3, keyValueHeads: 1, headSize: 5, window: 13, softcap: 2 },
  { documents: even(31), heads: 2, keyValueHeads: 1, headSize: 8, softcap: 0.5 },
  { documents: even(150, 0, 67), heads: 3, keyValueHeads: 1, headSize: 64, window: 33 },
  // Windows that leave out whole blocks of keys, and of queries.
  { documents: even(700), heads: 1, keyValueHeads: 1, headSize: 64, window: 70 },
  { documents: even(610, 5, 1), heads: 2, keyValueHeads: 2, headSize: 48, window: 200, softcap: 1.5 },
  { documents: even(17, 65), heads: 3, keyValueHeads: 3, headSize: 80 },
  { documents: even(64, 2), heads: 2, keyValueHeads: 2, headSize: 96 },
  { documents: even(130), heads: 3, keyValueHeads: 1, headSize: 128 },
  { documents: even(150), heads: 2, keyValueHeads: 1, headSize: 128, window: 33, softcap: 2 },
  { documents: even(65, 1), heads: 2, keyValueHeads: 1, headSize: 256 },
  { documents: even(37, 2), heads: 2, keyValueHeads: 1, headSize: 512, window: 20 },
  { documents: even(19), heads: 2, keyValueHeads: 2, headSize: 301 },
  // Documents with more keys than queries, and with fewer: then the first queries see nothing.
  {
    documents: [
      [33, 95],
      [4, 4],
    ],
    heads: 4,
    keyValueHeads: 1,
    headSize: 32,
    window: 30,
    softcap: 2,
  },
  {
    documents: [
      [9, 4],
      [3, 0],
      [70, 131],
    ],
    heads: 2,
    keyValueHeads: 1,
    headSize: 16,
  },
]

// With a cache, a document has more keys than queries. And a window of 1, through which no gradient flows to queries.
const withCache: Packed[] = [
  { documents: even(5), heads: 1, keyValueHeads: 1, headSize: 4, window: 1 },
  { documents: [[1, 1]], heads: 2, keyValueHeads: 1, headSize: 8 },
  { documents: [[1, 37]], heads: 4, keyValueHeads: 2, headSize: 16 },
  {
    documents: [
      [5, 23],
      [1, 9],
    ],
    heads: 3,
    keyValueHeads: 3,
    headSize: 7,
  },
  { documents: [[1, 700]], heads: 9, keyValueHeads: 3, headSize: 64 },
  { documents: [[1, 70]], heads: 4, keyValueHeads: 1, headSize: 512 },
  { documents: [[1, 70]], heads: 2, keyValueHeads: 1, headSize: 301 },
  // One query each, of several documents, some without queries or keys.
  {
    documents: [
      [1, 300],
      [0, 5],
      [1, 0],
      [1, 65],
    ],
    heads: 9,
    keyValueHeads: 3,
    headSize: 80,
  },
  // More heads than are processed together, and more rows than the special case for few rows.
  {
    documents: [
      [1, 300],
      [5, 260],
    ],
    heads: 18,
    keyValueHeads: 6,
    headSize: 6,
  },
  { documents: [[1, 700]], heads: 4, keyValueHeads: 2, headSize: 16, window: 5, softcap: 3 },
  { documents: [[1, 2900]], heads: 2, keyValueHeads: 1, headSize: 8, window: 2100 },
  { documents: [[1, 2900]], heads: 2, keyValueHeads: 1, headSize: 8, softcap: 2 },
  {
    documents: [
      [40, 90],
      [1, 9],
      [3, 300],
    ],
    heads: 2,
    keyValueHeads: 1,
    headSize: 10,
    window: 21,
    softcap: 2,
  },
]

const attention = [...shapes, ...withCache].map((packed) => {
  const { heads, keyValueHeads, headSize } = packed
  const { queryOffsets, keyOffsets, queries, keys, name, scoring } = facts(packed)
  return operationCase({
    name: `attention of ${name}`,
    operands: {
      q: { shape: [queries, heads, headSize], dtype: 'activation' },
      k: { shape: [keys, keyValueHeads, headSize], dtype: 'activation' },
      v: { shape: [keys, keyValueHeads, headSize], dtype: 'activation' },
      starts: { shape: [queryOffsets.length], dtype: 'int32', values: queryOffsets },
      keyStarts: { shape: [keyOffsets.length], dtype: 'int32', values: keyOffsets },
      out: { shape: [queries, heads, headSize], dtype: 'activation', role: 'out' },
      lse: { shape: [heads, queries], dtype: 'float32', role: 'out', layouts: 'dense' },
    },
    // In bfloat16 the softmax weights are rounded before they meet v.
    slack: { bfloat16: 2 ** -8 },
    call: ({ q, k, v, starts, keyStarts, out, lse }) =>
      native.attention({ q, k, v, queryOffsets: starts, keyOffsets: keyStarts, scoring, out, lse }),
    reference: ({ q, k, v }) => attendedOutput(packed, q, k, v, scoring.scale),
  })
})

// Keys in rows of their own choice, as in pages of several sequences: two documents share their first keys.
const inRows: { packed: Packed; rows: number }[] = [
  { packed: { documents: [[1, 37]], heads: 4, keyValueHeads: 2, headSize: 16 }, rows: 40 },
  {
    packed: {
      documents: [
        [1, 300],
        [1, 65],
        [1, 1],
      ],
      heads: 9,
      keyValueHeads: 3,
      headSize: 64,
    },
    rows: 400,
  },
  {
    packed: {
      documents: [
        [5, 90],
        [1, 260],
        [40, 40],
      ],
      heads: 6,
      keyValueHeads: 2,
      headSize: 10,
    },
    rows: 350,
  },
  {
    packed: {
      documents: [
        [3, 70],
        [1, 9],
      ],
      heads: 2,
      keyValueHeads: 1,
      headSize: 128,
      window: 21,
      softcap: 2,
    },
    rows: 75,
  },
]

const attentionInRows = inRows.map(({ packed, rows }) => {
  const { heads, keyValueHeads, headSize } = packed
  const { queryOffsets, keyOffsets, queries, keys, name, scoring } = facts(packed)
  const rowOf = (key: number) => {
    const document = keyOffsets.findLastIndex((start) => start <= key)
    const place = key - keyOffsets[document]!
    return place < 5 ? place : (7 * key + 3) % rows
  }
  const keyRows = Array.from({ length: keys }, (_, key) => rowOf(key))
  const stored = { shape: [rows, keyValueHeads, headSize], dtype: 'activation' } as const
  return operationCase({
    name: `attention to keys in ${rows} rows of ${name}`,
    operands: {
      q: { shape: [queries, heads, headSize], dtype: 'activation' },
      k: stored,
      v: stored,
      starts: { shape: [queryOffsets.length], dtype: 'int32', values: queryOffsets },
      keyStarts: { shape: [keyOffsets.length], dtype: 'int32', values: keyOffsets },
      keyRows: { shape: [keys], dtype: 'int32', values: keyRows, layouts: 'dense' },
      out: { shape: [queries, heads, headSize], dtype: 'activation', role: 'out' },
    },
    slack: { bfloat16: 2 ** -8 },
    call: ({ q, k, v, starts, keyStarts, keyRows, out }) =>
      native.attention({ q, k, v, queryOffsets: starts, keyOffsets: keyStarts, scoring, out, keyRows }),
    reference: ({ q, k, v }) => {
      const inOrder = (from: Host) => {
        const picked = new Host([keys, keyValueHeads, headSize])
        for (let key = 0; key < keys; key++)
          for (let head = 0; head < keyValueHeads; head++)
            for (let e = 0; e < headSize; e++) picked.set(from.at(keyRows[key]!, head, e), key, head, e)
        return picked
      }
      return { out: attendedOutput(packed, q, inOrder(k), inOrder(v), scoring.scale).out }
    },
  })
})

const attentionBackward = shapes.map((packed) => {
  const { heads, keyValueHeads, headSize } = packed
  const { queryOffsets, keyOffsets, queries, keys, name, scoring } = facts(packed)
  const q = { shape: [queries, heads, headSize], dtype: 'activation' } as const
  const k = { shape: [keys, keyValueHeads, headSize], dtype: 'activation' } as const
  return operationCase({
    name: `attentionBackward of ${name}`,
    operands: {
      dOut: q,
      q,
      k,
      v: k,
      starts: { shape: [queryOffsets.length], dtype: 'int32', values: queryOffsets },
      keyStarts: { shape: [keyOffsets.length], dtype: 'int32', values: keyOffsets },
      out: { ...q, role: 'out' },
      lse: { shape: [heads, queries], dtype: 'float32', role: 'out', layouts: 'dense' },
      dQ: { ...q, role: 'out' },
      dK: { ...k, role: 'out' },
      dV: { ...k, role: 'out' },
    },
    // bfloat16: out comes rounded from the forward pass, softmax weights and their gradients are rounded before products.
    slack: { float32: 1e-5, bfloat16: 2 ** -6 },
    call: ({ starts, keyStarts, dOut, dQ, dK, dV, ...both }) => {
      const packing = { queryOffsets: starts, keyOffsets: keyStarts, scoring }
      native.attention({ ...both, ...packing })
      native.attentionBackward({ ...both, ...packing, dOut, dQ, dK, dV })
    },
    // dV = Pᵀ dO, dP = dO Vᵀ, dS = P (dP - Σ P dP) through the cap, dQ = scale dS K, dK = scale dSᵀ Q.
    reference: ({ dOut, q, k, v }) => {
      const [out, lse] = [new Host(q.shape), new Host([heads, queries])]
      const [dQ, dK, dV] = [new Host(q.shape), new Host(k.shape), new Host(k.shape)]
      for (const { query, head, from, weights, slopes, lse: logSum } of attend(packed, q, k, scoring.scale)) {
        const shared = Math.floor(head / (heads / keyValueHeads))
        lse.set(logSum, head, query)
        const dP = weights.map((_, j) => sum(headSize, (e) => dOut.at(query, head, e) * v.at(from + j, shared, e)))
        const mean = sum(weights.length, (j) => weights[j]! * dP[j]!)
        for (const [j, weight] of weights.entries()) {
          const dS = weight * (dP[j]! - mean) * slopes[j]! * scoring.scale
          for (let e = 0; e < headSize; e++) {
            out.add(weight * v.at(from + j, shared, e), query, head, e)
            dV.add(weight * dOut.at(query, head, e), from + j, shared, e)
            dQ.add(dS * k.at(from + j, shared, e), query, head, e)
            dK.add(dS * q.at(query, head, e), from + j, shared, e)
          }
        }
      }
      return { out, lse, dQ, dK, dV }
    },
  })
})

export const attentionOperations: Record<'attention' | 'attentionBackward', OperationCase[]> = {
  attention: [...attention, ...attentionInRows],
  attentionBackward,
}
