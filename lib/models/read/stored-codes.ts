import type { TensorLocation } from '../../io/stored-dtype.js'
import { type DType, type FloatDType, type NativeDevice, native } from '../../native/addon.js'
import { CodedWeight } from '../../tensor/coded-weight.js'
import { scope } from '../../tensor/scope.js'
import { denseStrides, Tensor } from '../../tensor/tensor.js'
import type { CodeFormat } from '../../tensor/weight.js'
import type { CheckedScales, NamedTensor, OpenFile, StoredWeight } from './stored-weight.js'

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
 * The scales and zeros of a matrix of small codes: w = scale · (value of the code - zero), rounded to float32 once.
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

/** A weight as the reader of a format describes it. */
interface CodesOfWeight {
  readonly name: string
  readonly dtype: CodeFormat
  /** [out, in] */
  readonly shape: readonly number[]
  /** All that make it, the codes first. */
  readonly tensors: readonly [codes: NamedTensor, ...others: NamedTensor[]]
  /** Reads and checks scales and zeros. @throws InputError `malformed-file` */
  scales(open: OpenFile): ScalesOfCodes
  /** The codes as `ScalesOfCodes` says they lie, from the file's bytes, where those differ or must be checked. */
  readonly arranged?: ((bytes: Uint8Array) => Uint8Array) | undefined
}

/** A weight that several tensors of a checkpoint make together: codes and scales, whatever their files' layout. */
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

  check(open: OpenFile): CheckedScales {
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

/** A tensor's bytes, from the start of their buffer. */
export function readBytes({ path, offset, bytes }: TensorLocation, open: OpenFile): Uint8Array {
  const copy = open(path).bytes(offset, bytes)
  return copy.byteOffset === 0 ? copy : copy.slice()
}
