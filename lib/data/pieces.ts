/** Rows of several documents, such as the answers of a pair, kept as one row of tokens. */
import type { TokenRow } from './long-rows.js'

/** Value of the mask at the first token of each further document, which is never predicted. */
const BEGINS = 2

/** Joins documents to a row. */
export function joinedPieces(pieces: readonly TokenRow[]): TokenRow {
  const length = pieces.reduce((sum, { ids }) => sum + ids.length, 0)
  const joined: TokenRow = { ids: new Int32Array(length), mask: new Uint8Array(length) }
  let start = 0
  for (const { ids, mask } of pieces) {
    joined.ids.set(ids, start)
    joined.mask.set(mask, start)
    if (start > 0) joined.mask[start] = BEGINS
    start += ids.length
  }
  return joined
}

/** Returns the documents of a row, as views; the first has the row's value. */
export function piecesOf({ ids, mask, value, ...own }: TokenRow): TokenRow[] {
  const starts = [0]
  for (let at = mask.indexOf(BEGINS, 1); at > 0; at = mask.indexOf(BEGINS, at + 1)) starts.push(at)
  return starts.map((start, i) => ({
    ids: ids.subarray(start, starts[i + 1]),
    mask: mask.subarray(start, starts[i + 1]),
    ...own,
    ...(i === 0 && value && { value }),
  }))
}

/** Whether a token of a row is trained. */
export const isPredicted = (mask: Uint8Array, at: number): boolean => at > 0 && mask[at] === 1
