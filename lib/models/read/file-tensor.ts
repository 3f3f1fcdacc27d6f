import { InputError } from '../../common/errors.js'
import { malformed } from '../../io/open.js'
import { blockBytes, blockValues, type TensorLocation } from '../../io/stored-dtype.js'
import { type BlockDType, type DType, type FloatDType, type NativeDevice, native } from '../../native/addon.js'
import { float32FromHalf } from '../../tensor/half.js'
import { keep, scope } from '../../tensor/scope.js'
import { denseStrides, Tensor, transposedView } from '../../tensor/tensor.js'
import { transposed as transposedMatrix } from '../../tensor/transpose.js'
import { type Weight, weightOf } from '../../tensor/weight.js'
import { inWeightOrder, orderOfRuns, type TensorLayout } from '../gguf/layout.js'
import { blockFormat, type NamedTensor, type OpenFile, type StoredRows, stackedBlocks } from './stored-weight.js'

/** The differences between a file's tensor and the weight. */
interface FileLayout extends TensorLayout {
  /** Whether the file stores the transpose. */
  readonly transposed?: boolean
  /** The offset that the file adds to every value. */
  readonly excess?: number
}

/** Byte offsets of the float16 scales in a block; MXFP4's scales are powers of two, all of them finite in ggml. */
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

/** Number of values read at a time. */
const PIECE = 2 ** 21

/** A weight that is one tensor of a file: floats, or blocks of GGUF. */
export class FileTensor implements StoredRows {
  readonly name: string
  readonly path: string
  readonly shape: readonly number[]
  readonly dtype: TensorLocation['dtype']
  readonly bytes: number
  readonly tensors: readonly NamedTensor[]
  readonly keptFormat: BlockDType | null
  readonly #tensor: NamedTensor
  readonly #layout: FileLayout

  constructor(tensor: NamedTensor, layout: FileLayout = {}) {
    const { name, path, dtype, shape, bytes } = tensor
    const { transposed, excess } = layout
    const columns = layout.columns && shape[1]! / layout.columns.length
    this.name = name
    this.path = path
    this.shape = transposed ? shape.toReversed() : shape
    this.dtype = dtype
    this.bytes = bytes
    this.tensors = [tensor]
    const format = blockFormat(dtype)
    const isWhole = format === null || columns === undefined || columns % blockValues(format) === 0
    this.keptFormat = shape.length === 2 && !transposed && !excess && isWhole ? format : null
    this.#tensor = tensor
    this.#layout = layout
  }

  check(): { ordered: boolean } {
    requireFiniteScales(this.#tensor)
    return { ordered: false }
  }

  readInto(target: Tensor, open: OpenFile): void {
    const { device } = target
    const { shape, offset } = this.#tensor
    scope(() => {
      const raw = native.fromFile(device, this.dtype as DType, shape, open(this.path), offset)
      if (this.#layout.isNegatedExponential) this.#readLogarithms(target, open)
      else if (this.#differs) this.#readUnpacked(raw, target)
      else native.dequantise(raw, target.native)
      raw.dispose()
    })
  }

  readKept(device: NativeDevice, open: OpenFile): Weight {
    if (this.#differs) return stackedBlocks([this], device, open)!
    return weightOf(this.#read(this.keptFormat!, device, open))
  }

  readBlocks(target: Tensor, open: OpenFile): void {
    const order = this.#order
    const runs = order ? keep(target.view([order.length, target.elements / order.length])) : target
    native.readRows(runs.native, open(this.path), this.#tensor.offset, order)
    if (order) runs.dispose()
  }

  /** Reads floats as the file stores them; null if they have another dtype or layout there. */
  readFloats(dtype: FloatDType, device: NativeDevice, open: OpenFile): Tensor | null {
    return this.dtype === dtype && !this.#differs ? keep(this.#read(dtype, device, open)) : null
  }

  /** Returns the file's bytes, rows in the file's order. */
  rawBytes(open: OpenFile): Uint8Array {
    const { offset, bytes } = this.#tensor
    return open(this.path).bytes(offset, bytes)
  }

  *pieces(open: OpenFile): ReturnType<StoredRows['pieces']> {
    const { shape, offset, bytes } = this.#tensor
    const { rows: rowOrder, columns, transposed } = this.#layout
    if (transposed) {
      yield { from: 0, values: transposedMatrix(this.#toFloat32(this.rawBytes(open)), shape[0]!, shape[1]!) }
      return
    }
    const file = open(this.path)
    const [rows, width] = shape as [number, number]
    const rowBytes = bytes / rows
    const read = (from: number, to: number) =>
      this.#toFloat32(file.bytes(offset + from * rowBytes, (to - from) * rowBytes))
    const step = 64 * Math.max(1, Math.floor(PIECE / (64 * width)))
    for (let from = 0; from < rows; from += step) {
      const to = Math.min(from + step, rows)
      const values = rowOrder ? new Float32Array((to - from) * width) : read(from, to)
      for (const [i, row] of rowOrder?.subarray(from, to).entries() ?? []) values.set(read(row, row + 1), i * width)
      yield { from, values: inWeightOrder(values, to - from, { columns }) }
    }
  }

  /** Whether the file's layout differs from the weight's. */
  get #differs(): boolean {
    const { rows, columns, isNegatedExponential, transposed, excess } = this.#layout
    return Boolean(rows || columns || isNegatedExponential || transposed || excess)
  }

  #read(dtype: FloatDType | BlockDType, device: NativeDevice, open: OpenFile): Tensor {
    const { shape, offset } = this.#tensor
    const handle = native.fromFile(device, dtype, shape, open(this.path), offset)
    return new Tensor(handle, device, dtype, shape, denseStrides(shape))
  }

  /** The order of the file's runs of values; null if it is the weight's. */
  get #order(): Int32Array | null {
    return orderOfRuns(this.shape[0]!, this.#layout)
  }

  /** Reads a vector of -exp(weight). */
  #readLogarithms(target: Tensor, open: OpenFile): void {
    const values = blockFormat(this.dtype) === null ? this.#toFloat32(this.rawBytes(open)) : null
    if (!values?.every((value) => value < 0)) throw malformed(this.path, `${this.name} has values that are not below 0`)
    const logarithms = inWeightOrder(values, this.shape[0]!, this.#layout).map((value) => Math.log(-value))
    target.copyFrom(Tensor.from(logarithms, this.shape, { device: target.device }))
  }

  /** Converts the file's tensor to the weight, by way of float32. */
  #readUnpacked(raw: ReturnType<typeof native.fromFile>, target: Tensor): void {
    const { device } = target
    const { shape } = this.#tensor
    const { transposed, excess = 0 } = this.#layout
    const values = Tensor.empty(shape, { device })
    native.dequantise(raw, values.native)
    const order = this.#order
    if (order) {
      const matrix = [order.length, values.elements / order.length]
      const sorted = Tensor.empty(matrix, { device })
      const rows = Tensor.from(order, [order.length], { device, dtype: 'int32' })
      native.gatherRows(values.view(matrix).native, rows.native, sorted.native)
      native.copy(sorted.view(shape).native, target.native, 1)
    } else if (transposed) {
      native.copy(transposedView(values).native, target.native, 1)
    } else {
      const ones = Tensor.empty(shape, { device })
      native.fill(ones.native, 1)
      native.add(ones.native, values.native, -excess)
      native.copy(values.native, target.native, 1)
    }
  }

  #toFloat32(raw: Uint8Array): Float32Array {
    const bytes = raw.byteOffset % 4 === 0 ? raw : raw.slice()
    const { buffer, byteOffset, byteLength } = bytes
    if (this.dtype === 'float32') return new Float32Array(buffer, byteOffset, byteLength / 4)
    return float32FromHalf(new Uint16Array(buffer, byteOffset, byteLength / 2), this.dtype as 'float16' | 'bfloat16')
  }
}

/** Reads the float32 values of a tensor in a file. */
export function float32In({ path, offset, bytes }: TensorLocation): Float32Array {
  const file = native.openFile(path)
  try {
    const copy = file.bytes(offset, bytes)
    return new Float32Array(copy.buffer, copy.byteOffset, bytes / 4)
  } finally {
    file.close()
  }
}

/**
 * Checks the scales of a tensor of blocks.
 * @throws InputError `malformed-file` that names the first block with a non-finite scale
 */
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
