/** Weights as files have them, and how those become a model's: for the whole of a checkpoint, only here. */
import { isComputable, type TensorLocation } from '../../io/stored-dtype.js'
import {
  type BlockDType,
  type DType,
  type FloatDType,
  isBlockDType,
  type NativeDevice,
  type NativeTensor,
  native,
} from '../../native/addon.js'
import { keep, scope } from '../../tensor/scope.js'
import { denseStrides, Tensor, transposedView } from '../../tensor/tensor.js'
import { type StorageFormat, type Weight, weightOf } from '../../tensor/weight.js'
import { readCodedWeight } from './formats/read-coded-weight.js'
import type { OpenFile, QuantisedWeight } from './formats/tensors.js'
import { type FloatsToQuantise, readBlocks, readNf4 } from './quantise-on-load.js'
import type { StoredTensor } from './stored-tensor.js'

/** A weight as a checkpoint has it: one tensor, or several that make it; or floats that are quantised while they are read. */
export type StoredWeight = StoredTensor | QuantisedWeight | FloatsToQuantise

/** How quantised weights are stored. */
export interface QuantisedForm {
  /** Of most of them: `q4_1`, `nf4`, … */
  readonly format: string
  /** Whether inputs belong to groups in another order than their own, as where GPTQ orders them by activations. */
  readonly ordered: boolean
}

/** Whether a weight is made of several tensors. */
export function isQuantised(stored: StoredWeight): stored is QuantisedWeight {
  return 'parts' in stored
}

export function isToQuantise(stored: StoredWeight): stored is FloatsToQuantise {
  return 'floats' in stored
}

/** The shape of the weight, which that in the file may not be. */
export function shapeOf(stored: StoredWeight): readonly number[] {
  return 'transposed' in stored && stored.transposed ? stored.shape.toReversed() : stored.shape
}

/** Writes a weight's values into a tensor of its shape, converting to its dtype. */
export function readValues(stored: StoredWeight, target: Tensor, open: OpenFile): void {
  if (isQuantised(stored)) {
    scope(() => readCodedWeight(stored, target.device, open).writeValues(target))
    return
  }
  if (isToQuantise(stored)) {
    scope(() => target.copyFrom(readKept([stored], target.device, open)!.values('float32')))
    return
  }
  const { path, shape, offset, rowOrder, transposed, excess } = stored
  scope(() => {
    const raw = native.fromFile(target.device, stored.dtype as DType, shape, open(path), offset)
    if (rowOrder || transposed || excess) unpack(raw, stored, target)
    else native.dequantise(raw, target.native)
    raw.dispose()
  })
}

/** A weight as it lies in its file, to be read only; null where it has another dtype or layout there. */
export function readFloats(
  stored: StoredWeight,
  dtype: FloatDType,
  device: NativeDevice,
  open: OpenFile,
): Tensor | null {
  if (isQuantised(stored) || isToQuantise(stored)) return null
  const { path, shape, offset, rowOrder, transposed, excess } = stored
  if (stored.dtype !== dtype || rowOrder || transposed || excess) return null
  const handle = native.fromFile(device, dtype, shape, open(path), offset)
  return keep(new Tensor(handle, device, dtype, shape, denseStrides(shape)))
}

/** The format in which a matrix can be multiplied with as it is stored; null where its values must be unpacked. */
export function keptFormat(stored: StoredWeight): StorageFormat | null {
  if (isToQuantise(stored) || isQuantised(stored)) return stored.dtype
  const { dtype, shape, transposed, excess } = stored
  return isComputable(dtype) && isBlockDType(dtype) && shape.length === 2 && !transposed && !excess ? dtype : null
}

/** The dtype that most values are stored in, or most of those that are quantised. */
export function usualDType(weights: readonly StoredWeight[]): string {
  const quantised = weights.filter((stored) => isQuantised(stored) || keptFormat(stored) !== null)
  const counts = new Map<string, number>()
  for (const { dtype, bytes } of quantised.length > 0 ? quantised : weights)
    counts.set(dtype, (counts.get(dtype) ?? 0) + bytes)
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'float32'
}

/**
 * Matrices of one such format and equally many columns, one below the other, as a new weight; null where several cannot be
 * one, since each has scales of its own.
 */
export function readKept(stored: readonly StoredWeight[], device: NativeDevice, open: OpenFile): Weight | null {
  const [first] = stored
  if (isQuantised(first!)) return stored.length === 1 ? readCodedWeight(first, device, open) : null
  const { dtype, shape } = first!
  if (dtype === 'nf4') return stored.length === 1 ? readNf4(first as FloatsToQuantise, device, open) : null
  const blocks = dtype as BlockDType
  const columns = shape[1]!
  if (stored.length === 1 && !isToQuantise(first!) && !first!.rowOrder) {
    const { path, offset } = first!
    const handle = native.fromFile(device, blocks, shape, open(path), offset)
    return weightOf(new Tensor(handle, device, blocks, shape, denseStrides(shape)))
  }
  const rows = stored.reduce((sum, matrix) => sum + matrix.shape[0]!, 0)
  const joined = scope(() => {
    const whole = Tensor.empty([rows, columns], { device, dtype: blocks })
    let to = 0
    for (const matrix of stored as readonly (StoredTensor | FloatsToQuantise)[]) {
      const from = to
      to += matrix.shape[0]!
      const part = whole.rows(from, to)
      if (isToQuantise(matrix)) {
        const bytes = readBlocks(matrix, device, open)
        part.memoryAs('uint8', [bytes.length]).copyFrom(Tensor.from(bytes, [bytes.length], { device, dtype: 'uint8' }))
      } else native.readRows(part.native, open(matrix.path), matrix.offset, matrix.rowOrder ?? null)
    }
    return whole
  })
  return weightOf(joined)
}

/** Turns what a file holds into the weight, by way of float32. */
function unpack(
  raw: NativeTensor,
  { shape, rowOrder: order, transposed, excess = 0 }: StoredTensor,
  target: Tensor,
): void {
  const { device } = target
  const values = Tensor.empty(shape, { device })
  native.dequantise(raw, values.native)
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

/** The values of a tensor of float32, of a file that is opened for them. */
export function float32In({ path, offset, bytes }: TensorLocation): Float32Array {
  const file = native.openFile(path)
  const copy = file.bytes(offset, bytes)
  file.close()
  return new Float32Array(copy.buffer, copy.byteOffset, bytes / 4)
}
