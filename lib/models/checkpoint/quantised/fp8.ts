/** FP8 in blocks of two dimensions with a scale each, as DeepSeek's and Qwen's checkpoints have it. */
import { InputError } from '../../../errors.js'
import type { QuantisationFormat } from './format.js'
import {
  bytesOfParts,
  type CheckpointTensors,
  e4m3Values,
  matrixShape,
  type NamedTensor,
  type QuantisedWeight,
  readFinite,
} from './tensors.js'

/** Where the configuration does not say it. */
const usualBlock = [128, 128] as const

export const fp8: QuantisationFormat = {
  method: 'fp8',
  weights(settings, tensors) {
    settings.require('fmt', ['e4m3'], 'e4m3')
    const isUsual = settings.json.weight_block_size === undefined
    const block = isUsual ? usualBlock : (settings.positives('weight_block_size', 2) as [number, number])
    return tensors.modules('.weight_scale_inv').map((module) => {
      const scales = tensors.take(`${module}.weight_scale_inv`, null, { dtypes: ['float32', 'bfloat16', 'float16'] })
      return e4m3Weight(module, scales, block, tensors)
    })
  },
}

/** A weight of 8-bit floats with a scale for each block of rows and columns; those at the edge may be smaller. */
export function e4m3Weight(
  module: string,
  scales: NamedTensor,
  [rowsPerScale, groupSize]: readonly [number, number],
  tensors: CheckpointTensors,
): QuantisedWeight {
  const name = `${module}.weight`
  const codes = tensors.take(name, scales, { dtypes: ['F8_E4M3'] })
  const [rows, columns] = matrixShape(codes)
  const blocks = [Math.ceil(rows / rowsPerScale), Math.ceil(columns / groupSize)]
  requireScaleShape(scales, blocks, codes)
  const parts = [codes, scales]
  return {
    name,
    path: codes.path,
    dtype: 'fp8',
    shape: [rows, columns],
    bytes: bytesOfParts(parts),
    parts,
    scales: (open) => ({
      rows,
      columns,
      bits: 8,
      highFirst: false,
      table: e4m3Values,
      zeros: 0,
      rowsPerScale,
      groupSize,
      runsOn: false,
      groupOfColumn: null,
      scales: readFinite(scales, open),
    }),
    codes,
    arranged(bytes) {
      const bad = bytes.findIndex((code) => (code & 0x7f) === 0x7f)
      if (bad >= 0) throw new InputError('malformed-file', `${codes.path}: value ${bad} of ${name} is not finite.`)
      return bytes
    },
  }
}

/** Scales of a shape that may leave out dimensions of 1. */
export function requireScaleShape(scales: NamedTensor, wanted: readonly number[], of: NamedTensor): void {
  const without = (shape: readonly number[]) => shape.filter((size) => size !== 1).join()
  if (without(scales.shape) === without(wanted)) return
  throw new InputError(
    'malformed-file',
    `${scales.path}: ${scales.name} is [${scales.shape.join(', ')}], but [${wanted.join(', ')}] fits ${of.name}.`,
  )
}
