/** Stores many token rows in a few typed arrays. */
import { createHash } from 'node:crypto'
import { LoopTurn } from '../common/loop-turn.js'
import type { TokenRow } from './encode.js'

export interface TokenArrays {
  /** [rows + 1] start of each row, then the number of tokens. */
  offsets: Float64Array<ArrayBuffer>
  ids: Int32Array<ArrayBuffer>
  mask: Uint8Array<ArrayBuffer>
  /** [rows] the weight of each row; absent if all are 1. */
  weights?: Float64Array<ArrayBuffer>
  /** [rows] the value of each row; absent if all are 0. */
  values?: Float32Array<ArrayBuffer>
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
  readonly #ends: number[] = []
  readonly #weights = new Map<number, number>()
  readonly #values = new Map<number, number>()

  get length(): number {
    return this.#ends.length
  }

  push({ ids, mask, weight = 1, value = 0 }: TokenRow): void {
    if (weight !== 1) this.#weights.set(this.length, weight)
    if (value !== 0) this.#values.set(this.length, value)
    const block = this.#blockFor(ids.length)
    block.ids.set(ids, block.tokens)
    block.mask.set(mask, block.tokens)
    block.tokens += ids.length
    this.#ends.push((this.#ends.at(-1) ?? 0) + ids.length)
  }

  /** Returns the rows in arrays of exactly the size needed. */
  async finish(): Promise<TokenArrays> {
    const arrays = allocate(this.#ends.length, this.#ends.at(-1) ?? 0, {
      isWeighted: this.#weights.size > 0,
      hasValues: this.#values.size > 0,
    })
    arrays.offsets.set(this.#ends, 1)
    arrays.weights?.forEach((_, row, weights) => {
      weights[row] = this.#weights.get(row) ?? 1
    })
    for (const [row, value] of this.#values) arrays.values![row] = value
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

export function allocate(
  rows: number,
  tokens: number,
  { isWeighted, hasValues }: { isWeighted: boolean; hasValues: boolean },
): TokenArrays {
  return {
    offsets: new Float64Array(rows + 1),
    ids: new Int32Array(tokens),
    mask: new Uint8Array(tokens),
    ...(isWeighted && { weights: new Float64Array(rows) }),
    ...(hasValues && { values: new Float32Array(rows) }),
  }
}

/** Returns a row, as views. */
export function rowOf({ offsets, ids, mask, weights, values }: TokenArrays, row: number): TokenRow {
  const [start, end] = [offsets[row]!, offsets[row + 1]!]
  return {
    ids: ids.subarray(start, end),
    mask: mask.subarray(start, end),
    ...(weights && { weight: weights[row]! }),
    ...(values?.[row] && { value: values[row] }),
  }
}

/** Returns the arrays as bytes, in the order in which they are stored and hashed. */
export function arrayBytes({ offsets, ids, mask, weights, values }: TokenArrays): Uint8Array<ArrayBuffer>[] {
  return [offsets, ids, mask, ...(weights ? [weights] : []), ...(values ? [values] : [])].map(
    (values) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  )
}

const HASHED_BYTES = 2 ** 20

/** Returns the sha256, hexadecimal, of rows, masks and weights; equal data has equal hashes, whatever its source. */
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
