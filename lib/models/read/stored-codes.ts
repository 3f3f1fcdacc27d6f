import type { TensorLocation } from '../../io/stored-dtype.js'
import { type DType, type FloatDType, type NativeDevice, native } from '../../native/addon.js'
import { CodedWeight } from '../../tensor/coded-weight.js'
import { scope } from '../../tensor/scope.js'
import { denseStrides, Tensor } from '../../tensor/tensor.js'
import type { CodeFormat } from '../../tensor/weight.js'
import type { NamedTensor, OpenFile, StoredWeight } from './stored-weight.js'

/** Floats as a file stores them: the bits of 16-bit floats. */
export interface StoredFloats {
  readonly dtype: FloatDType
  readonly data: Float32Array | Uint16Array
}

/** Scales that are themselves 8-bit codes: scale i = scales[i / perScale] · table[code] + offset. */
interface CodedScales {
  readonly codes: Uint8Array
  readonly table: Float32Array
  readonly scales: Float32Array
  readonly perScale: number
  readonly offset: number
}

/**
 * The scales and zeros of a matrix of small codes: w = scale · (value of the code - zero), rounded to float32 once.
 * Scale and zero of (row, column) are entry `row / rowsPerScale` (rounded down) and the column's group of
 * [⌈rows / rowsPerScale⌉, groups]. Codes are in row-major order, each row starting at a byte.
 */
interface ScalesOfCodes {
  readonly bits: 4 | 8
  /** Whether the even one of two 4-bit codes is in the high half of its byte. */
  readonly highFirst?: boolean
  /** The value of each code; absent if a code is its own value. */
  readonly table?: Float32Array
  readonly scales: StoredFloats | CodedScales
  /** The zero of each scale, or one for all; default 0. */
  readonly zeros?: Uint8Array | number
  /** Default 1. */
  readonly rowsPerScale?: number
  /** Columns of a group; a row's groups are consecutive. */
  readonly groupSize: number
  /** Whether groups continue from row to row, as if all rows were one. */
  readonly runsOn?: boolean
  /** The group of each column, if that is not column / groupSize. */
  readonly groupOfColumn?: Int32Array | null
}

/** A format reader's description of a weight. */
interface CodesOfWeight {
  readonly name: string
  readonly dtype: CodeFormat
  /** [out, in] */
  readonly shape: readonly number[]
  /** All of its tensors, the codes first. */
  readonly tensors: readonly [codes: NamedTensor, ...others: NamedTensor[]]
  /** Reads and checks scales and zeros. @throws InputError `malformed-file` */
  scales(open: OpenFile): ScalesOfCodes
  /** Converts the file's bytes to the layout of `ScalesOfCodes`, if they differ or must be checked. */
  readonly arranged?: ((bytes: Uint8Array) => Uint8Array) | undefined
}

/** A weight of several tensors of a checkpoint: codes and scales, in any file layout. */
export class StoredCodes implements StoredWeight {
  readonly name: string
  readonly path: string
  readonly shape: readonly number[]
  readonly dtype: CodeFormat
  readonly bytes: number
  readonly tensors: readonly NamedTensor[]
  readonly keptFormat: CodeFormat
  readonly #codes: CodesOfWeight

  constructor(codes: CodesOfWeight) {
    const { name, dtype, shape, tensors } = codes
    this.name = name
    this.path = tensors[0].path
    this.shape = shape
    this.dtype = dtype
    this.bytes = tensors.reduce((sum, { bytes }) => sum + bytes, 0)
    this.tensors = tensors
    this.keptFormat = dtype
    this.#codes = codes
  }

  check(open: OpenFile): { ordered: boolean } {
    return { ordered: Boolean(this.#codes.scales(open).groupOfColumn) }
  }

  readInto(target: Tensor, open: OpenFile): void {
    scope(() => this.readKept(target.device, open).writeValues(target))
  }

  readKept(device: NativeDevice, open: OpenFile): CodedWeight {
    const [rows, columns] = this.shape as [number, number]
    const { table, scales, zeros = 0, groupOfColumn, ...layout } = this.#codes.scales(open)
    const vector = (dtype: DType, values: Float32Array | Uint16Array | Uint8Array | Int32Array | null | undefined) =>
      values ? Tensor.from(values, [values.length], { device, dtype }) : null
    const coded = 'codes' in scales ? scales : null
    const tensors = {
      codes: this.#readCodes([rows, (columns * layout.bits) / 8], device, open),
      table: vector('float32', table),
      scales: 'codes' in scales ? vector('uint8', scales.codes)! : vector(scales.dtype, scales.data)!,
      zeros: typeof zeros === 'number' ? null : vector('uint8', zeros),
      groups: vector('int32', groupOfColumn),
      scaleTable: vector('float32', coded?.table),
      scaleScales: vector('float32', coded?.scales),
    }
    return CodedWeight.of(this.dtype, tensors, {
      ...layout,
      columns,
      ...(typeof zeros === 'number' && { zero: zeros }),
      ...(coded && { scalesPerScale: coded.perScale, scaleOffset: coded.offset }),
    })
  }

  #readCodes(shape: readonly number[], device: NativeDevice, open: OpenFile): Tensor {
    const { tensors, arranged } = this.#codes
    const [codes] = tensors
    if (arranged) return Tensor.from(arranged(readBytes(codes, open)), shape, { device, dtype: 'uint8' })
    const handle = native.fromFile(device, 'uint8', shape, open(codes.path), codes.offset)
    return new Tensor(handle, device, 'uint8', shape, denseStrides(shape))
  }
}

/** Reads a tensor's bytes, at the start of their buffer. */
export function readBytes({ path, offset, bytes }: TensorLocation, open: OpenFile): Uint8Array {
  const copy = open(path).bytes(offset, bytes)
  return copy.byteOffset === 0 ? copy : copy.slice()
}
