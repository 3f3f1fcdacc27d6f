import { readFileSync, writeFileSync } from 'node:fs'

const text = new URL('../../LICENSE', import.meta.url)

/** Returns token ids [rows × (length + 1)] of a text that every checkout has, repeated where it is too short. */
export async function textIds(tokenizer, rows, length) {
  const ids = await tokenizer.encode(readFileSync(text, 'utf8'))
  return Int32Array.from({ length: rows * (length + 1) }, (_, i) => ids[i % ids.length])
}

/** Reads token ids that another process has written. */
export function readIds(file) {
  const bytes = readFileSync(file)
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
}

/** The same rows as a data file, each of `length` tokens. */
export function writeTokenRows(file, ids, rows, length) {
  const row = (i) => [...ids.subarray(i * (length + 1), i * (length + 1) + length)]
  writeFileSync(file, Array.from({ length: rows }, (_, i) => `${JSON.stringify({ input_ids: row(i) })}\n`).join(''))
}

/** The batch of some of the rows. */
export function batchOfRows(ids, rows, length) {
  const width = length + 1
  const own = rows.flatMap((row) => [...ids.subarray(row * width, (row + 1) * width)])
  return packedBatch(own, rows.length, length)
}

/** Makes each row a document in which every token has a target; the last token's is the id after the row. */
export function packedBatch(ids, rows, length) {
  const tokens = rows * length
  const at = (i) => Math.floor(i / length) * (length + 1) + (i % length)
  return {
    ids: Int32Array.from({ length: tokens }, (_, i) => ids[at(i)]),
    targets: Int32Array.from({ length: tokens }, (_, i) => ids[at(i) + 1]),
    positions: Int32Array.from({ length: tokens }, (_, i) => i % length),
    offsets: Int32Array.from({ length: rows + 1 }, (_, i) => i * length),
    rowKeys: BigInt64Array.from({ length: tokens }, (_, i) => BigInt(i)),
    targetTokens: tokens,
    rows,
  }
}
