/** Element types in files: types that this package computes with, and types with a known name and size alone. */
import { block, blockLayouts, type DType, type Layout, type PlainDType, plain, plainLayouts } from '../native/addon.js'

/** Types by their names in files that this package cannot compute with. */
const foreignSafetensors = {
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
}
const foreignGguf = {
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
const computable: Record<DType, Layout> = { ...plainLayouts, ...blockLayouts }
const layouts = { ...computable, ...foreignSafetensors, ...foreignGguf }

export type StoredDType = keyof typeof layouts
/** Types of safetensors files: all except GGUF's blocks. */
export type SafetensorsDType = PlainDType | keyof typeof foreignSafetensors

const safetensorsNames: Record<PlainDType, string> = {
  float32: 'F32',
  bfloat16: 'BF16',
  float16: 'F16',
  int32: 'I32',
  int64: 'I64',
  uint8: 'U8',
}

/** Returns the name of a dtype in safetensors files, or null if the format has none. */
export function safetensorsNameOf(dtype: StoredDType): string | null {
  if (dtype in safetensorsNames) return safetensorsNames[dtype as PlainDType]
  return dtype in foreignSafetensors ? dtype : null
}

const safetensorsDTypes = new Map(
  (Object.keys({ ...safetensorsNames, ...foreignSafetensors }) as SafetensorsDType[]).map((dtype) => [
    safetensorsNameOf(dtype),
    dtype,
  ]),
)

/** Returns the dtype of a name such as `BF16` in safetensors files, or null if the format has no such name. */
export function dtypeOfSafetensorsName(name: string): SafetensorsDType | null {
  return safetensorsDTypes.get(name) ?? null
}

/** The location of a tensor's bytes. Shapes are outermost first; `offset` counts from the start of the file. */
export interface TensorLocation {
  path: string
  dtype: StoredDType
  shape: readonly number[]
  offset: number
  bytes: number
}

/** True for types that tensors of this package can have. */
export function isComputable(dtype: StoredDType): dtype is DType {
  return dtype in computable
}

/** Returns the number of values in a block: 1 for plain numbers. */
export function blockValues(dtype: StoredDType): number {
  return layouts[dtype].values
}

/** Returns the bytes of one block, or of one element for plain numbers. */
export function blockBytes(dtype: StoredDType): number {
  return layouts[dtype].bytes
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
  const { values, bytes } = layouts[dtype]
  if (count % values !== 0) return null
  const total = (count / values) * bytes
  return Number.isSafeInteger(total) ? total : null
}

/** Most tensors of a file: twice as many as an adapter of the models with the most experts has. */
export const MOST_TENSORS = 2 ** 18
