/** Stores many examples in a few typed arrays. */
import { createHash } from 'node:crypto'
import { LoopTurn } from '../../common/time-limit.js'
import type { Document, Example } from './example.js'

export interface TokenArrays {
  /** [documents + 1] start of each document, then the number of tokens. */
  offsets: Float64Array<ArrayBuffer>
  ids: Int32Array<ArrayBuffer>
  mask: Uint8Array<ArrayBuffer>
  /** [rows] the weight of each row; absent if all are 1. */
  weights?: Float64Array<ArrayBuffer>
  /** [rows] the label of each row; absent if all are 0. */
  labels?: Float32Array<ArrayBuffer>
  /** [rows + 1] the first document of each row, then their number; absent if each row has one document. */
  firsts?: Float64Array<ArrayBuffer>
}

/** Tokens of a block, at least. */
const BLOCK_TOKENS = 2 ** 18

interface Block {
  ids: Int32Array
  mask: Uint8Array
  /** Tokens that it has. */
  tokens: number
}

/** Collects rows in blocks, so that none is copied before the end. */
export class TokenStore {
  readonly #blocks: Block[] = []
  /** The end of each document, in tokens. */
  readonly #ends: number[] = []
  /** The end of each row, in documents. */
  readonly #rowEnds: number[] = []
  readonly #weights = new Map<number, number>()
  readonly #labels = new Map<number, number>()

  /** Number of rows. */
  get length(): number {
    return this.#rowEnds.length
  }

  push({ documents, weight = 1, label = 0 }: Example): void {
    if (weight !== 1) this.#weights.set(this.length, weight)
    if (label !== 0) this.#labels.set(this.length, label)
    for (const { ids, mask } of documents) {
      const block = this.#blockFor(ids.length)
      block.ids.set(ids, block.tokens)
      block.mask.set(mask, block.tokens)
      block.tokens += ids.length
      this.#ends.push((this.#ends.at(-1) ?? 0) + ids.length)
    }
    this.#rowEnds.push(this.#ends.length)
  }

  /** Returns the rows in arrays of exactly the size needed. */
  async finish(): Promise<TokenArrays> {
    const arrays = allocate({
      rows: this.length,
      documents: this.#ends.length,
      tokens: this.#ends.at(-1) ?? 0,
      isWeighted: this.#weights.size > 0,
      isLabelled: this.#labels.size > 0,
    })
    arrays.offsets.set(this.#ends, 1)
    arrays.weights?.forEach((_, row, weights) => {
      weights[row] = this.#weights.get(row) ?? 1
    })
    for (const [row, label] of this.#labels) arrays.labels![row] = label
    arrays.firsts?.set(this.#rowEnds, 1)
    const turn = new LoopTurn()
    let at = 0
    for (const { ids, mask, tokens } of this.#blocks) {
      arrays.ids.set(ids.subarray(0, tokens), at)
      arrays.mask.set(mask.subarray(0, tokens), at)
      at += tokens
      await turn.end()
    }
    return arrays
  }

  #blockFor(tokens: number): Block {
    const last = this.#blocks.at(-1)
    if (last && last.tokens + tokens <= last.ids.length) return last
    const size = Math.max(BLOCK_TOKENS, tokens)
    const block = { ids: new Int32Array(size), mask: new Uint8Array(size), tokens: 0 }
    this.#blocks.push(block)
    return block
  }
}

/** Sizes of the arrays, and which of them there are. */
export interface ArraySizes {
  rows: number
  documents: number
  tokens: number
  isWeighted: boolean
  isLabelled: boolean
}

export function allocate({ rows, documents, tokens, isWeighted, isLabelled }: ArraySizes): TokenArrays {
  return {
    offsets: new Float64Array(documents + 1),
    ids: new Int32Array(tokens),
    mask: new Uint8Array(tokens),
    ...(isWeighted && { weights: new Float64Array(rows) }),
    ...(isLabelled && { labels: new Float32Array(rows) }),
    ...(documents !== rows && { firsts: new Float64Array(rows + 1) }),
  }
}

/** Returns the number of rows. */
export const rowsIn = ({ offsets, firsts = offsets }: TokenArrays): number => firsts.length - 1

/** Returns a row, with views of its tokens. */
export function rowOf({ offsets, ids, mask, weights, labels, firsts }: TokenArrays, row: number): Example {
  const [first, end] = firsts ? [firsts[row]!, firsts[row + 1]!] : [row, row + 1]
  const documentAt = (document: number): Document => {
    const [start, next] = [offsets[document]!, offsets[document + 1]!]
    return { ids: ids.subarray(start, next), mask: mask.subarray(start, next) }
  }
  return {
    documents: Array.from({ length: end - first }, (_, i) => documentAt(first + i)),
    ...(weights && { weight: weights[row]! }),
    ...(labels?.[row] && { label: labels[row] }),
  }
}

/** Returns the number of tokens of a row. */
export function tokensOfRow({ offsets, firsts }: TokenArrays, row: number): number {
  const [first, end] = firsts ? [firsts[row]!, firsts[row + 1]!] : [row, row + 1]
  return offsets[end]! - offsets[first]!
}

/** Returns the arrays as bytes, in the order in which they are stored and hashed. */
export function arrayBytes({ offsets, ids, mask, weights, labels, firsts }: TokenArrays): Uint8Array<ArrayBuffer>[] {
  return [offsets, ids, mask, weights, labels, firsts]
    .filter((array) => array !== undefined)
    .map(({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength))
}

const HASHED_BYTES = 2 ** 20

/** Increase this whenever the same rows have another hash, so that a resumed run does not take them for other data. */
export const ROWS_VERSION = '2'

/** Returns the sha256, hexadecimal, of rows, masks, weights and labels; equal data has equal hashes, whatever its source. */
export async function hashArrays(arrays: TokenArrays): Promise<string> {
  const hash = createHash('sha256')
  const turn = new LoopTurn()
  for (const bytes of arrayBytes(arrays)) {
    for (let start = 0; start < bytes.length; start += HASHED_BYTES) {
      hash.update(bytes.subarray(start, start + HASHED_BYTES))
      await turn.end()
    }
  }
  return hash.digest('hex')
}
