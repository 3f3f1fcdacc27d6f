/** Element types in files: those this package computes with, and those of which it knows only name and size. */
import type { DType } from '../native/addon.js'

/** Types of safetensors and GGUF files that this package cannot compute with, by their names in the files. */
export type ForeignDType = keyof typeof foreignLayouts
export type StoredDType = DType | ForeignDType

/** The location of a tensor's bytes. Shapes are outermost first; `offset` counts from the start of the file. */
export interface TensorLocation {
  path: string
  dtype: StoredDType
  shape: readonly number[]
  offset: number
  bytes: number
}

/** `values` elements are stored together in `bytes` bytes. */
interface Layout {
  values: number
  bytes: number
}

const plain = (bytes: number): Layout => ({ values: 1, bytes })
const block = (values: number, bytes: number): Layout => ({ values, bytes })

const computableLayouts: Record<DType, Layout> = {
  float32: plain(4),
  bfloat16: plain(2),
  float16: plain(2),
  int32: plain(4),
  int64: plain(8),
  uint8: plain(1),
  q4_0: block(32, 18),
  q4_1: block(32, 20),
  q5_0: block(32, 22),
  q5_1: block(32, 24),
  q8_0: block(32, 34),
  q2_k: block(256, 84),
  q3_k: block(256, 110),
  q4_k: block(256, 144),
  q5_k: block(256, 176),
  q6_k: block(256, 210),
  iq4_nl: block(32, 18),
  iq4_xs: block(256, 136),
  mxfp4: block(32, 17),
  tq1_0: block(256, 54),
  tq2_0: block(256, 66),
}

const foreignLayouts = {
  BOOL: plain(1),
  I8: plain(1),
  I16: plain(2),
  U16: plain(2),
  U32: plain(4),
  U64: plain(8),
  F64: plain(8),
  C64: plain(8),
  F8_E4M3: plain(1),
  F8_E5M2: plain(1),
  F8_E8M0: plain(1),
  F8_E4M3FNUZ: plain(1),
  F8_E5M2FNUZ: plain(1),
  F6_E2M3: block(4, 3),
  F6_E3M2: block(4, 3),
  F4: block(2, 1),
  Q8_1: block(32, 36),
  Q8_K: block(256, 292),
  IQ1_S: block(256, 50),
  IQ1_M: block(256, 56),
  IQ2_XXS: block(256, 66),
  IQ2_XS: block(256, 74),
  IQ2_S: block(256, 82),
  IQ3_XXS: block(256, 98),
  IQ3_S: block(256, 110),
}

export const foreignDTypes = Object.keys(foreignLayouts) as ForeignDType[]

/** True for types that tensors of this package can have. */
export function isComputable(dtype: StoredDType): dtype is DType {
  return dtype in computableLayouts
}

/** Returns the number of values in a block: 1 for plain numbers. */
export function blockValues(dtype: StoredDType): number {
  return layoutOf(dtype).values
}

/** Returns the bytes of one block, or of one element for plain numbers. */
export function blockBytes(dtype: StoredDType): number {
  return layoutOf(dtype).bytes
}

/**
 * Returns the number of elements of a shape, or null if a dimension is not a whole number of at least 0 or the product exceeds
 * 2^53. The empty shape is a scalar.
 */
export function countElements(shape: readonly number[]): number | null {
  let count = 1
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) return null
    count *= size
    if (!Number.isSafeInteger(count)) return null
  }
  return count
}

/** Returns the bytes of `count` elements, or null if they do not fill whole blocks or the result exceeds 2^53. */
export function storedBytes(dtype: StoredDType, count: number): number | null {
  const { values, bytes } = layoutOf(dtype)
  if (count % values !== 0) return null
  const total = (count / values) * bytes
  return Number.isSafeInteger(total) ? total : null
}

function layoutOf(dtype: StoredDType): Layout {
  return isComputable(dtype) ? computableLayouts[dtype] : foreignLayouts[dtype]
}

/** Most tensors of a file: twice as many as an adapter of the models with the most experts has. */
export const MOST_TENSORS = 2 ** 18
