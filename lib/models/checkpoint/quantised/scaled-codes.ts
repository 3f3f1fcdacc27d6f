/** The form that all quantised weights of checkpoints have here, whatever their files' layout. */
import type { FloatDType } from '../../../native.js'
import { float32FromHalf } from '../../../tensor/half.js'

/** Floats as a file has them: bits of 16-bit ones. */
export interface StoredFloats {
  readonly dtype: FloatDType
  readonly data: Float32Array | Uint16Array
}

/**
 * A matrix [rows, columns] of small codes: w = scale · (value of the code - zero) + offset, rounded to float32 after the
 * product and after the sum. Scale and zero of (row, column) are entry `row / rowsPerScale` (rounded down) and the column's
 * group of [⌈rows / rowsPerScale⌉, groups].
 */
export interface ScaledCodes extends ScalesOfCodes {
  /** Row after row, each from a byte on; of 4-bit codes the even column has a byte's low half. */
  readonly codes: Uint8Array
}

/** The same without its codes. */
export interface ScalesOfCodes {
  readonly rows: number
  readonly columns: number
  readonly bits: 4 | 8
  /** The value of each code; null where a code is its own value. */
  readonly table: Float32Array | null
  /** Floats, or codes of one row themselves. */
  readonly scales: StoredFloats | ScaledCodes
  /** Of each scale, or the same for all. */
  readonly zeros: Uint8Array | number
  readonly offset: number
  readonly rowsPerScale: number
  /** Columns of a group; groups of one row follow each other. */
  readonly groupSize: number
  /** Whether groups run on from row to row, as if all rows were one. */
  readonly runsOn: boolean
  /** The group of each column, where that is not column / groupSize. */
  readonly groupOfColumn: Int32Array | null
}

/** Scales in a row. */
export function groupsOf({ columns, groupSize }: Pick<ScalesOfCodes, 'columns' | 'groupSize'>): number {
  return Math.ceil(columns / groupSize)
}

/** Calls `use` with the values of some rows after the other: [rows, columns] from row `from` on, in memory that is used again. */
export function unpackInPanels(
  matrix: ScaledCodes,
  use: (values: Float32Array, from: number, rows: number) => void,
): void {
  const { rows, columns } = matrix
  const panel = Math.max(1, Math.min(rows, Math.floor(2 ** 20 / columns)))
  const values = new Float32Array(panel * columns)
  const scales = scalesOf(matrix)
  for (let from = 0; from < rows; from += panel) {
    const count = Math.min(panel, rows - from)
    for (let row = 0; row < count; row++) {
      unpackRow(matrix, scales, from + row, values.subarray(row * columns, (row + 1) * columns))
    }
    use(values.subarray(0, count * columns), from, count)
  }
}

function scalesOf({ scales }: ScalesOfCodes): Float32Array {
  if ('codes' in scales) {
    const values = new Float32Array(scales.columns)
    unpackRow(scales, scalesOf(scales), 0, values)
    return values
  }
  return scales.dtype === 'float32'
    ? (scales.data as Float32Array)
    : float32FromHalf(scales.data as Uint16Array, scales.dtype)
}

function unpackRow(matrix: ScaledCodes, scales: Float32Array, row: number, values: Float32Array): void {
  const { rows, columns, bits, codes, table, zeros, offset, rowsPerScale, groupSize, runsOn, groupOfColumn } = matrix
  const start = row * (codes.length / rows)
  const first = runsOn ? 0 : Math.floor(row / rowsPerScale) * groupsOf(matrix)
  for (let column = 0; column < columns; column++) {
    const code = bits === 8 ? codes[start + column]! : (codes[start + (column >> 1)]! >> (4 * (column & 1))) & 15
    const group = runsOn
      ? Math.floor((row * columns + column) / groupSize)
      : first + (groupOfColumn ? groupOfColumn[column]! : Math.floor(column / groupSize))
    const zero = typeof zeros === 'number' ? zeros : zeros[group]!
    const value = table ? table[code]! : code
    values[column] = scales[group]! * (value - zero)
    if (offset !== 0) values[column]! += offset
  }
}
