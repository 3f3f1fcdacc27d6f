/** Which block formats a matrix can be written in. */
import { blockValues } from '../../io/stored-dtype.js'
import type { WrittenBlocks } from '../../native/addon.js'

/** What llama.cpp takes instead of blocks of 256 values, for rows that these do not fill. */
const shorter: Partial<Record<WrittenBlocks, WrittenBlocks>> = {
  q4_k: 'q5_0',
  q5_k: 'q5_1',
  q6_k: 'q8_0',
  iq4_xs: 'iq4_nl',
}

/** The format, or the one of shorter blocks that takes its place where rows do not fill its own; null where none fits. */
export function fittingFormat(format: WrittenBlocks, columns: number): WrittenBlocks | null {
  const fitting = columns % blockValues(format) === 0 ? format : (shorter[format] ?? format)
  return columns % blockValues(fitting) === 0 ? fitting : null
}
