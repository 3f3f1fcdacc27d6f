/** compressed-tensors, as LLM Compressor writes it: integers in words or bytes, and 8-bit floats. Activations stay as they are. */

import { UsageError } from '../../../common/errors.js'
import { isJsonObject } from '../../../io/json.js'
import { malformed } from '../../../io/open.js'
import { transposed } from '../../../tensor/transpose.js'
import type { ConfigReader } from '../../families/config-reader.js'
import { signedBytes } from './bitsandbytes.js'
import { compressedFormats, readSchemes, type Scheme, schemeFor } from './compressed-schemes.js'
import type { QuantisationFormat } from './format.js'
import { e4m3Weight, requireScaleShape } from './fp8.js'
import {
  type CheckpointTensors,
  codedWeight,
  codesOfWords,
  matrixShape,
  type NamedTensor,
  type QuantisedWeight,
  readBytes,
  readFinite,
  readGroups,
  readWords,
  requireEven,
} from './tensors.js'

const floats = ['bfloat16', 'float16', 'float32'] as const

export const compressedTensors: QuantisationFormat = {
  method: 'compressed-tensors',
  weights(settings, tensors) {
    settings.require('format', compressedFormats, undefined)
    settings.require('quantization_status', ['compressed', 'frozen'], 'compressed')
    requireNone(settings, 'kv_cache_scheme', 'keys and values are not quantised here')
    requireNone(settings, 'sparsity_config', 'only dense weights are')
    requireNone(settings, 'transform_config', 'weights are multiplied with activations as they are')
    const schemes = readSchemes(settings)
    return [
      ...tensors.modules('.weight_packed').map((module) => packedWeight(module, schemes, tensors)),
      ...tensors.modules('.weight_scale').map((module) => plainWeight(module, schemes, tensors)),
    ]
  },
}

/** Refuses a setting, unless it is null, empty or says `dense`. */
function requireNone(settings: ConfigReader, key: string, why: string): void {
  const value = settings.value(key)
  if (value === undefined || (isJsonObject(value) && (value.format === 'dense' || Object.keys(value).length === 0)))
    return
  throw settings.unsupported(key, value, why)
}

/** Integers in words along inputs, with an offset of half their range. */
function packedWeight(module: string, schemes: readonly Scheme[], tensors: CheckpointTensors): QuantisedWeight {
  const words = tensors.take(`${module}.weight_packed`, null, { dtypes: ['int32'] })
  const [rows, rowWords] = matrixShape(words)
  const shape = tensors.take(`${module}.weight_shape`, words, { dtypes: ['int64', 'int32'], shape: [2] })
  const bytes = readBytes(shape, tensors.open)
  const said = shape.dtype === 'int64' ? new BigInt64Array(bytes.buffer, 0, 2) : new Int32Array(bytes.buffer, 0, 2)
  const [saidRows, columns] = [...said].map(Number) as [number, number]
  const scales = tensors.take(`${module}.weight_scale`, words, { dtypes: floats })
  const fits = ({ type, bits }: Scheme) => type === 'int' && rowWords === Math.ceil((columns * bits) / 32)
  const scheme =
    saidRows === rows && columns > 0 ? schemeFor(scales, [rows, columns], schemes.filter(fits), words) : null
  if (!scheme) {
    const problem = `which cannot hold the [${saidRows}, ${columns}] that ${shape.name} says in the bits of the configuration`
    throw malformed(words.path, `${words.name} is [${words.shape.join(', ')}], ${problem}`)
  }
  const { bits, rowsPerScale, groupSize } = scheme
  if (bits === 4) requireEven(columns, words)
  const [scaleRows, groups] = [Math.ceil(rows / rowsPerScale), Math.ceil(columns / groupSize)]
  const zeros = takeZeros(module, [scaleRows, groups], bits, words, tensors)
  const order = tensors.takeGroups(module, words, columns)
  const parts = [words, shape, scales, ...zeros.parts, ...(order ? [order] : [])]
  return codedWeight({
    name: `${module}.weight`,
    dtype: `compressed-int${bits}`,
    shape: [rows, columns],
    parts,
    scales: (open) => ({
      bits,
      rowsPerScale,
      groupSize,
      zeros: zeros.read(open) ?? 2 ** (bits - 1),
      scales: readFinite(scales, open),
      groupOfColumn: order && readGroups(order, groups, groupSize, open),
    }),
    codes: words,
    // Rows are filled up to whole words.
    ...((columns * bits) % 32 !== 0 && {
      arranged: (bytes: Uint8Array) => firstColumns(bytes, rows, (columns * bits) / 8),
    }),
  })
}

/** Columns from the first on, of as many rows. */
function firstColumns(bytes: Uint8Array, rows: number, columns: number): Uint8Array {
  const [cut, stride] = [new Uint8Array(rows * columns), bytes.length / rows]
  for (let row = 0; row < rows; row++) cut.set(bytes.subarray(row * stride, row * stride + columns), row * columns)
  return cut
}

/** Zeros [rows, groups] where there are some: in words along outputs as codes are, or in a signed byte each. */
function takeZeros(
  module: string,
  [rows, groups]: readonly [number, number],
  bits: 4 | 8,
  of: NamedTensor,
  tensors: CheckpointTensors,
) {
  const name = `${module}.weight_zero_point`
  const areBytes = tensors.left.get(name)?.dtype === 'I8'
  const words = { dtypes: ['int32'] as const, shape: [Math.ceil((rows * bits) / 32), groups] }
  const zeros = tensors.takeIfThere(name, of, areBytes ? { dtypes: ['I8'] } : words)
  if (zeros && areBytes) requireScaleShape(zeros, [rows, groups], of)
  return {
    parts: zeros ? [zeros] : [],
    /** Half their range more, so that none is negative. */
    read(open: CheckpointTensors['open']): Uint8Array | null {
      if (!zeros) return null
      return areBytes ? zerosOfBytes(zeros, bits, open) : zerosAlongOutputs(readWords(zeros, open), bits, rows, groups)
    },
  }
}

/** From words [⌈rows · bits / 32⌉, groups] along rows to bytes [rows, groups]. */
function zerosAlongOutputs(words: Uint32Array, bits: 4 | 8, rows: number, groups: number): Uint8Array {
  const turned = transposed(words, words.length / groups, groups)
  const padded = (words.length / groups) * (32 / bits)
  return transposed(codesOfWords(turned, bits), groups, padded).slice(0, rows * groups)
}

/** From signed bytes to those of codes that are half their range more. */
function zerosOfBytes(zeros: NamedTensor, bits: 4 | 8, open: CheckpointTensors['open']): Uint8Array {
  const half = 2 ** (bits - 1)
  return readBytes(zeros, open).map((byte, i) => {
    const zero = signedBytes[byte]! + half
    if (zero >= 0 && zero < 2 * half) return zero
    throw malformed(zeros.path, `value ${i} of ${zeros.name} is ${zero - half}, which is none of ${bits} bits`)
  })
}

/** The values of signed bytes, 128 more. */
const bytesFrom128 = signedBytes.map((value) => value + 128)

/** Bytes [out, in]: 8-bit floats or integers. */
function plainWeight(module: string, schemes: readonly Scheme[], tensors: CheckpointTensors): QuantisedWeight {
  const scales = tensors.take(`${module}.weight_scale`, null, { dtypes: floats })
  const name = `${module}.weight`
  const found = tensors.left.get(name)
  const codes: NamedTensor = found ? { ...found, name } : tensors.take(name, scales, { dtypes: [] })
  const type = codes.dtype === 'I8' ? 'int' : 'float'
  // Integers of 4 bits may have a byte each.
  const candidates = schemes.filter((scheme) => scheme.type === type)
  const [rows, columns] = matrixShape(codes)
  const scheme = schemeFor(scales, [rows, columns], candidates, codes)
  if (!scheme) {
    throw malformed(
      codes.path,
      `${name} is stored as ${codes.dtype}, but the configuration has no layers of 8-bit ${type}s`,
    )
  }
  const { rowsPerScale, groupSize } = scheme
  if (type === 'float') {
    requireNoZeros(module, tensors)
    return { ...e4m3Weight(module, scales, [rowsPerScale, groupSize], tensors, true), dtype: 'compressed-fp8' }
  }
  tensors.take(name, scales, { dtypes: ['I8'] })
  const groups = Math.ceil(columns / groupSize)
  const zeros = takeZeros(module, [Math.ceil(rows / rowsPerScale), groups], 8, codes, tensors)
  const order = tensors.takeGroups(module, codes, columns)
  const parts = [codes, scales, ...zeros.parts, ...(order ? [order] : [])]
  return codedWeight({
    name,
    dtype: 'compressed-int8',
    shape: [rows, columns],
    parts,
    scales: (open) => ({
      bits: 8,
      table: zeros.parts.length > 0 ? bytesFrom128 : signedBytes,
      rowsPerScale,
      groupSize,
      groupOfColumn: order && readGroups(order, groups, groupSize, open),
      zeros: zeros.read(open) ?? 0,
      scales: readFinite(scales, open),
    }),
    codes,
  })
}

/** Refuses 8-bit floats whose zeros are not zero. */
function requireNoZeros(module: string, tensors: CheckpointTensors): void {
  const name = `${module}.weight_zero_point`
  const zeros = tensors.left.get(name)
  if (!zeros || readBytes(zeros, tensors.open).every((byte) => (byte & 0x7f) === 0)) return
  throw new UsageError('unsupported-option', `${zeros.path}: ${name} is not zero, which is not supported of floats.`)
}
