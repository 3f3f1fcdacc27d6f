import { type DType, type NativeDevice, native } from '../../../native/addon.js'
import { CodedWeight } from '../../../tensor/coded-weight.js'
import { denseStrides, Tensor } from '../../../tensor/tensor.js'
import { type OpenFile, type QuantisedWeight, readBytes } from './tensors.js'

/** A quantised weight on a device. @throws InputError `malformed-file` */
export function readCodedWeight(weight: QuantisedWeight, device: NativeDevice, open: OpenFile): CodedWeight {
  const [rows, columns] = weight.shape as [number, number]
  const { bits, table, scales, zeros = 0, groupSize, groupOfColumn, ...layout } = weight.scales(open)
  const { highFirst = false, runsOn = false, rowsPerScale = 1 } = layout
  const coded = 'codes' in scales ? scales : null
  const vector = (dtype: DType, values: Float32Array | Uint16Array | Uint8Array | Int32Array | null | undefined) =>
    values ? Tensor.from(values, [values.length], { device, dtype }) : null
  const parts = {
    codes: readCodes(weight, [rows, (columns * bits) / 8], device, open),
    table: vector('float32', table),
    scales: 'codes' in scales ? vector('uint8', scales.codes)! : vector(scales.dtype, scales.data)!,
    zeros: typeof zeros === 'number' ? null : vector('uint8', zeros),
    groups: vector('int32', groupOfColumn),
    scaleTable: vector('float32', coded?.table),
    scaleScales: vector('float32', coded?.scales),
  }
  const ofScales = { scalesPerScale: coded?.perScale ?? 1, scaleOffset: coded?.offset ?? 0 }
  const zero = typeof zeros === 'number' ? zeros : 0
  return new CodedWeight(weight.dtype, parts, {
    columns,
    firstRow: 0,
    rowsPerScale,
    groupSize,
    bits,
    highFirst,
    runsOn,
    zero,
    ...ofScales,
  })
}

function readCodes(
  { codes, arranged }: QuantisedWeight,
  shape: readonly number[],
  device: NativeDevice,
  open: OpenFile,
): Tensor {
  if (arranged) return Tensor.from(arranged(readBytes(codes, open)), shape, { device, dtype: 'uint8' })
  const handle = native.fromFile(device, 'uint8', shape, open(codes.path), codes.offset)
  return new Tensor(handle, device, 'uint8', shape, denseStrides(shape))
}
