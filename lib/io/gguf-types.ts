/** The type numbers of GGUF files. */
import type { StoredDType, TensorLocation } from './stored-dtype.js'

/** A value of GGUF's metadata. 64-bit integers past 2^53 are bigints. */
export type GgufValue = number | bigint | boolean | string | GgufValue[]

export interface GgufFile {
  path: string
  metadata: Map<string, GgufValue>
  /** Tensors by their names in the file, in its order; shapes outermost first, the reverse of GGUF's. */
  tensors: Map<string, TensorLocation>
}

/**
 * Types of metadata values in the order of their numbers, with the fewest bytes of a value: a string has at least its length,
 * an array its element type and length.
 */
export const smallestValueBytes = {
  uint8: 1,
  int8: 1,
  uint16: 2,
  int16: 2,
  uint32: 4,
  int32: 4,
  float32: 4,
  bool: 1,
  string: 8,
  array: 12,
  uint64: 8,
  int64: 8,
  float64: 8,
}
export type ValueType = keyof typeof smallestValueBytes
/** Types of metadata values by their number. */
export const valueTypes = Object.keys(smallestValueBytes) as ValueType[]

/** Types of tensors by ggml's number; the gaps are types that ggml has removed. */
export const dtypeOfGgmlType: ReadonlyMap<number, StoredDType> = new Map<number, StoredDType>([
  [0, 'float32'],
  [1, 'float16'],
  [2, 'q4_0'],
  [3, 'q4_1'],
  [6, 'q5_0'],
  [7, 'q5_1'],
  [8, 'q8_0'],
  [9, 'Q8_1'],
  [10, 'q2_k'],
  [11, 'q3_k'],
  [12, 'q4_k'],
  [13, 'q5_k'],
  [14, 'q6_k'],
  [15, 'Q8_K'],
  [16, 'IQ2_XXS'],
  [17, 'IQ2_XS'],
  [18, 'IQ3_XXS'],
  [19, 'IQ1_S'],
  [20, 'iq4_nl'],
  [21, 'IQ3_S'],
  [22, 'IQ2_S'],
  [23, 'iq4_xs'],
  [24, 'I8'],
  [25, 'I16'],
  [26, 'int32'],
  [27, 'int64'],
  [28, 'F64'],
  [29, 'IQ1_M'],
  [30, 'bfloat16'],
  [34, 'tq1_0'],
  [35, 'tq2_0'],
  [39, 'mxfp4'],
])
