/** The form that all quantised weights of checkpoints have here, whatever their files' layout. */
import type { FloatDType } from '../../../native/addon.js'

/** Floats as a file has them: bits of 16-bit ones. */
export interface StoredFloats {
  readonly dtype: FloatDType
  readonly data: Float32Array | Uint16Array
}

/** Scales that are codes of 8 bits themselves: scale i = scales[i / perScale] · table[code] + offset. */
export interface CodedScales {
  readonly codes: Uint8Array
  readonly table: Float32Array
  readonly scales: Float32Array
  readonly perScale: number
  readonly offset: number
}

/**
 * What belongs to a matrix of small codes: w = scale · (value of the code - zero), rounded to float32 once.
 * Scale and zero of (row, column) are entry `row / rowsPerScale` (rounded down) and the column's group of
 * [⌈rows / rowsPerScale⌉, groups]. Codes lie row after row, each from a byte on.
 */
export interface ScalesOfCodes {
  readonly bits: 4 | 8
  /** Whether of two 4-bit codes in a byte the even column has the high half. */
  readonly highFirst?: boolean
  /** The value of each code; absent where a code is its own value. */
  readonly table?: Float32Array
  readonly scales: StoredFloats | CodedScales
  /** The zero of each scale, or the same for all, by default 0. */
  readonly zeros?: Uint8Array | number
  /** By default 1. */
  readonly rowsPerScale?: number
  /** Columns of a group; groups of one row follow each other. */
  readonly groupSize: number
  /** Whether groups run on from row to row, as if all rows were one. */
  readonly runsOn?: boolean
  /** The group of each column, where that is not column / groupSize. */
  readonly groupOfColumn?: Int32Array | null
}
