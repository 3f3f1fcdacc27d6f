/** FP8 with a scale for each two-dimensional block, as in DeepSeek's and Qwen's checkpoints, or with one scale. */
import { InputError } from '../../../common/errors.js'
import { StoredCodes } from '../stored-codes.js'
import type { NamedTensor } from '../stored-weight.js'
import {
  type CheckpointTensors,
  e4m3Values,
  matrixShape,
  misshapen,
  type QuantisationFormat,
  readFinite,
  readGroups,
} from './format.js'

/** Rows and columns that share a scale; null is all of them. */
type ScaleBlock = readonly [number | null, number | null]

/** Names of scales, and their blocks if the configuration has none: transformers' and vLLM's. */
const usualBlocks: Readonly<Record<string, ScaleBlock>> = { weight_scale_inv: [128, 128], weight_scale: [null, null] }

export const fp8: QuantisationFormat = {
  method: 'fp8',
  costs: { fp8: { training: 60, decoding: 4.3 } },
  weights(settings, tensors) {
    settings.require('fmt', ['e4m3'], 'e4m3')
    const { weight_block_size: size } = settings.json
    const said =
      size === undefined
        ? null
        : size === null
          ? ([null, null] as const)
          : (settings.integers('weight_block_size', 2) as [number, number])
    return Object.entries(usualBlocks).flatMap(([suffix, usual]) =>
      tensors.modules(`.${suffix}`).map((module) => {
        const scales = tensors.take(`${module}.${suffix}`, null, { dtypes: ['float32', 'bfloat16', 'float16'] })
        return e4m3Weight(module, scales, said ?? usual, tensors)
      }),
    )
  },
}

/**
 * A weight of 8-bit floats with a scale for each block of rows and columns; blocks at the edge may be smaller.
 * @param dtype the format's name: in `compressed-fp8`, a tensor may hold the group of each column
 */
export function e4m3Weight(
  module: string,
  scales: NamedTensor,
  block: ScaleBlock,
  tensors: CheckpointTensors,
  dtype: 'fp8' | 'compressed-fp8' = 'fp8',
): StoredCodes {
  const name = `${module}.weight`
  const codes = tensors.take(name, scales, { dtypes: ['F8_E4M3'] })
  const [rows, columns] = matrixShape(codes)
  const [rowsPerScale, groupSize] = [block[0] ?? rows, block[1] ?? columns]
  const groups = Math.ceil(columns / groupSize)
  requireScaleShape(scales, [Math.ceil(rows / rowsPerScale), groups], codes)
  const order = dtype === 'compressed-fp8' ? tensors.takeGroups(module, codes, columns) : null
  return new StoredCodes({
    name,
    dtype,
    shape: [rows, columns],
    tensors: [codes, scales, ...(order ? [order] : [])],
    scales: (open) => ({
      bits: 8,
      table: e4m3Values,
      rowsPerScale,
      groupSize,
      groupOfColumn: order && readGroups(order, groups, groupSize, open),
      scales: readFinite(scales, open),
    }),
    arranged(bytes) {
      const bad = bytes.findIndex((code) => (code & 0x7f) === 0x7f)
      if (bad >= 0) throw new InputError('malformed-file', `${codes.path}: value ${bad} of ${name} is not finite.`)
      return bytes
    },
  })
}

/** Throws unless scales have a shape, in which dimensions of 1 may be left out. */
export function requireScaleShape(scales: NamedTensor, wanted: readonly number[], of: NamedTensor): void {
  const without = (shape: readonly number[]) => shape.filter((size) => size !== 1).join()
  if (without(scales.shape) !== without(wanted)) throw misshapen(scales, wanted, of)
}
