/** Stores many token rows in three typed arrays. */
import { createHash } from 'node:crypto'
import type { TokenRow } from './encode.js'

export interface TokenArrays {
  /** [rows + 1] start of each row, then the number of tokens. */
  offsets: Float64Array<ArrayBuffer>
  ids: Int32Array<ArrayBuffer>
  mask: Uint8Array<ArrayBuffer>
}

/** Collects rows; its arrays grow. */
export class TokenStore {
  #rows = 0
  #tokens = 0
  #arrays: TokenArrays = allocate(256, 1 << 16)

  get length(): number {
    return this.#rows
  }

  push({ ids, mask }: TokenRow): void {
    const tokens = this.#tokens + ids.length
    if (this.#rows + 1 >= this.#arrays.offsets.length || tokens > this.#arrays.ids.length) {
      const larger = allocate(Math.max(2 * this.#rows, 256), Math.max(2 * this.#tokens, tokens))
      copyInto(larger, this.#arrays, this.#rows, this.#tokens)
      this.#arrays = larger
    }
    this.#arrays.ids.set(ids, this.#tokens)
    this.#arrays.mask.set(mask, this.#tokens)
    this.#tokens = tokens
    this.#rows++
    this.#arrays.offsets[this.#rows] = tokens
  }

  /** Returns copies of exactly the size needed. */
  finish(): TokenArrays {
    const exact = allocate(this.#rows, this.#tokens)
    copyInto(exact, this.#arrays, this.#rows, this.#tokens)
    return exact
  }
}

export function allocate(rows: number, tokens: number): TokenArrays {
  return { offsets: new Float64Array(rows + 1), ids: new Int32Array(tokens), mask: new Uint8Array(tokens) }
}

function copyInto(target: TokenArrays, source: TokenArrays, rows: number, tokens: number): void {
  target.offsets.set(source.offsets.subarray(0, rows + 1))
  target.ids.set(source.ids.subarray(0, tokens))
  target.mask.set(source.mask.subarray(0, tokens))
}

/** Returns the arrays as bytes, in the order in which they are stored and hashed. */
export function arrayBytes({ offsets, ids, mask }: TokenArrays): Uint8Array<ArrayBuffer>[] {
  return [offsets, ids, mask].map((values) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
}

/** Returns the sha256, hexadecimal, of rows and masks; equal data has equal hashes, whatever its source. */
export function hashArrays(arrays: TokenArrays): string {
  const hash = createHash('sha256')
  for (const bytes of arrayBytes(arrays)) {
    // One update takes at most 2^31 - 1 bytes.
    for (let start = 0; start < bytes.length; start += 1 << 30) hash.update(bytes.subarray(start, start + (1 << 30)))
  }
  return hash.digest('hex')
}
