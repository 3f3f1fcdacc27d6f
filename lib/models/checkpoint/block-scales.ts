/** The scales in blocks of GGUF: what of them is no number makes every value of its block none. */
import { closeSync, openSync, readSync } from 'node:fs'
import { InputError } from '../../errors.js'
import { blockBytes } from '../../io/stored-dtype.js'
import { type BlockDType, type DType, isBlockDType } from '../../native.js'
import type { FloatsToQuantise } from './floats-to-quantise.js'
import type { StoredTensor } from './stored-tensor.js'

/** Where a block has its float16 scales, in bytes from its start; MXFP4's are powers of two, all of them finite in ggml. */
const PLACES: Readonly<Record<BlockDType, readonly number[]>> = {
  q4_0: [0],
  q4_1: [0, 2],
  q5_0: [0],
  q5_1: [0, 2],
  q8_0: [0],
  q2_k: [80, 82],
  q3_k: [108],
  q4_k: [0, 2],
  q5_k: [0, 2],
  q6_k: [208],
  iq4_nl: [0],
  iq4_xs: [0],
  mxfp4: [],
  tq1_0: [52],
  tq2_0: [64],
}

/** Bytes that are read at a time: they stay in the cache until they are looked at. */
const PIECE = 2 ** 18
/** The exponent's bits of a float16: all ones where it is infinite or not a number. */
const EXPONENT = 0x7c00

/** Does nothing of other tensors. @throws InputError `malformed-file` that names the first block with a scale that is not finite */
export function requireFiniteScales(name: string, stored: StoredTensor | FloatsToQuantise): void {
  const { path, dtype, offset, bytes } = 'floats' in stored ? stored.floats : stored
  if (!isBlockDType(dtype as DType)) return
  const places = PLACES[dtype as BlockDType]
  if (places.length === 0) return
  const size = blockBytes(dtype)
  const words = new Uint16Array((Math.floor(PIECE / size) * size) / 2)
  const file = openSync(path, 'r')
  try {
    for (let from = 0; from < bytes; from += words.byteLength) {
      const count = readSync(file, words, 0, Math.min(words.byteLength, bytes - from), offset + from)
      const found = places.map((place) => firstNotFinite(words.subarray(0, count >> 1), place / 2, size / 2))
      const first = Math.min(...found)
      if (first === Number.POSITIVE_INFINITY) continue
      const block = from / size + first
      throw new InputError('malformed-file', `${path}: a scale of block ${block} of ${name} (${dtype}) is not finite.`)
    }
  } finally {
    closeSync(file)
  }
}

/** The first of the float16 at `start`, `start + step` and so on that is not finite; infinity where all are. */
function firstNotFinite(words: Uint16Array, start: number, step: number): number {
  for (let at = start; at < words.length; at += step)
    if ((words[at]! & EXPONENT) === EXPONENT) return (at - start) / step
  return Number.POSITIVE_INFINITY
}
