/** Floats of a file that become quantised weights while they are read, a few rows at a time. */
import { about } from '../../common/errors.js'
import { type FloatDType, type NativeDevice, native, type WrittenBlocks } from '../../native/addon.js'
import { CodedWeight } from '../../tensor/coded-weight.js'
import { float32FromHalf } from '../../tensor/half.js'
import { Tensor } from '../../tensor/tensor.js'
import { transposed as transposedMatrix } from '../../tensor/transpose.js'
import type { OpenFile } from './formats/tensors.js'
import type { StoredTensor } from './stored-tensor.js'

/** A weight that the file has in floats, and the model in blocks or codes. */
export interface FloatsToQuantise {
  readonly name: string
  /** The file of the floats. */
  readonly path: string
  readonly dtype: WrittenBlocks | 'nf4'
  /** [out, in] */
  readonly shape: readonly number[]
  /** As the model has it. */
  readonly bytes: number
  readonly floats: StoredTensor
}

/** Values that share a scale. */
export const NF4_BLOCK = 64

/** The bytes of the weight's blocks, row by row. */
export function readBlocks(
  { name, dtype, shape, bytes, floats }: FloatsToQuantise,
  device: NativeDevice,
  open: OpenFile,
): Uint8Array {
  const [rows, columns] = shape as [number, number]
  const blocks = new Uint8Array(bytes)
  const { threads } = device.facts()
  for (const { from, values } of pieces(floats, open)) {
    const piece = quantised(name, () => native.quantise(dtype as WrittenBlocks, values, columns, null, threads))
    blocks.set(piece, (from / rows) * bytes)
  }
  return blocks
}

export function readNf4({ name, shape, floats }: FloatsToQuantise, device: NativeDevice, open: OpenFile): CodedWeight {
  const [rows, columns] = shape as [number, number]
  const codes = new Uint8Array((rows * columns) / 2)
  const scales = new Float32Array(Math.ceil((rows * columns) / NF4_BLOCK))
  const { threads } = device.facts()
  let table = new Float32Array(16)
  for (const { from, values } of pieces(floats, open)) {
    const piece = quantised(name, () => native.quantiseNf4(values, threads))
    codes.set(piece.codes, (from * columns) / 2)
    // Pieces are whole blocks, whatever the length of a row.
    scales.set(piece.scales, (from * columns) / NF4_BLOCK)
    table = piece.table
  }
  return nf4Weight(columns, {
    codes: Tensor.from(codes, [rows, columns / 2], { device, dtype: 'uint8' }),
    table: Tensor.from(table, [table.length], { device }),
    scales: Tensor.from(scales, [scales.length], { device }),
  })
}

/** What quantising a weight gives; that a value is too large for it or no number is told with the weight's name. */
export function quantised<Result>(name: string, quantise: () => Result): Result {
  try {
    return quantise()
  } catch (error) {
    throw about(name, error)
  }
}

/** A weight of codes [rows, columns / 2] of 4 bits, with a table [16] and a float32 scale for every NF4_BLOCK values. */
export function nf4Weight(columns: number, own: { codes: Tensor; table: Tensor; scales: Tensor }): CodedWeight {
  const parts = { ...own, zeros: null, groups: null, scaleTable: null, scaleScales: null }
  return new CodedWeight('nf4', parts, {
    columns,
    firstRow: 0,
    rowsPerScale: 1,
    groupSize: NF4_BLOCK,
    bits: 4,
    highFirst: true,
    runsOn: true,
    zero: 0,
    scalesPerScale: 1,
    scaleOffset: 0,
  })
}

/** Values that are read at a time. */
const PIECE = 2 ** 21

/** A matrix row by row in float32; all pieces but the last are of a multiple of 64 rows. */
function* pieces(stored: StoredTensor, open: OpenFile): Generator<{ from: number; values: Float32Array }> {
  const { path, dtype, shape, offset, bytes, rowOrder, transposed } = stored
  const file = open(path)
  const floats = (raw: Uint8Array) => toFloat32(raw, dtype as FloatDType)
  if (transposed) {
    yield { from: 0, values: transposedMatrix(floats(file.bytes(offset, bytes)), shape[0]!, shape[1]!) }
    return
  }
  const [rows, columns] = shape as [number, number]
  const rowBytes = bytes / rows
  const step = 64 * Math.max(1, Math.floor(PIECE / (64 * columns)))
  for (let from = 0; from < rows; from += step) {
    const to = Math.min(from + step, rows)
    if (!rowOrder) yield { from, values: floats(file.bytes(offset + from * rowBytes, (to - from) * rowBytes)) }
    else {
      const values = new Float32Array((to - from) * columns)
      for (let row = from; row < to; row++)
        values.set(floats(file.bytes(offset + rowOrder[row]! * rowBytes, rowBytes)), (row - from) * columns)
      yield { from, values }
    }
  }
}

function toFloat32(raw: Uint8Array, dtype: FloatDType): Float32Array {
  const bytes = raw.byteOffset % 4 === 0 ? raw : raw.slice()
  const { buffer, byteOffset, byteLength } = bytes
  if (dtype === 'float32') return new Float32Array(buffer, byteOffset, byteLength / 4)
  return float32FromHalf(new Uint16Array(buffer, byteOffset, byteLength / 2), dtype)
}
