/** Checks the scales in blocks of GGUF: one that is not finite spoils every value of its block. */
import { InputError } from '../../common/errors.js'
import { blockBytes } from '../../io/stored-dtype.js'
import { type BlockDType, native } from '../../native/addon.js'
import { blockFormat, type NamedTensor } from './stored-weight.js'

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

/** Skips tensors that are no blocks. @throws InputError `malformed-file` that names the first block with a scale that is not finite */
export function requireFiniteScales({ name, path, dtype, offset, bytes }: NamedTensor): void {
  const format = blockFormat(dtype)
  const places = format === null ? [] : PLACES[format]
  if (places.length === 0) return
  const file = native.openFile(path)
  try {
    const block = file.firstNotFinite(offset, bytes, blockBytes(dtype), places)
    if (block < 0) return
    throw new InputError('malformed-file', `${path}: a scale of block ${block} of ${name} (${dtype}) is not finite.`)
  } finally {
    file.close()
  }
}
