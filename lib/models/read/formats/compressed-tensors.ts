/**
 * compressed-tensors, as LLM Compressor writes it: integers in words or bytes, and 8-bit floats. Activations stay as they are.
 */

import { UsageError } from '../../../common/errors.js'
import { isJsonObject, type JsonObject } from '../../../io/json.js'
import { malformed } from '../../../io/open.js'
import { transposed } from '../../../tensor/transpose.js'
import { ConfigReader } from '../../families/config-reader.js'
import { readBytes, StoredCodes } from '../stored-codes.js'
import type { NamedTensor, OpenFile } from '../stored-weight.js'
import { signedBytes } from './bitsandbytes.js'
import {
  type CheckpointTensors,
  codesOfWords,
  countGroups,
  inLowerCase,
  matrixShape,
  type QuantisationFormat,
  readFinite,
  readGroups,
  readWords,
  requireEven,
} from './format.js'
import { e4m3Weight, requireScaleShape } from './fp8.js'

/** The supported formats. */
const compressedFormats = ['pack-quantized', 'int-quantized', 'float-quantized', 'naive-quantized', 'mixed-precision']

const floats = ['bfloat16', 'float16', 'float32'] as const

/** The quantisation of the weights of some layers. */
interface Scheme {
  readonly type: 'int' | 'float'
  readonly bits: 4 | 8
  readonly block: ReturnType<typeof blockOf>
}

export const compressedTensors: QuantisationFormat = {
  method: 'compressed-tensors',
  costs: {
    'compressed-int4': { training: 30, decoding: 1.1 },
    'compressed-int8': { training: 50, decoding: 4.2 },
    'compressed-fp8': { training: 50, decoding: 4.2 },
  },
  weights(settings, tensors) {
    settings.require('format', compressedFormats, undefined)
    settings.require('quantization_status', ['compressed', 'frozen'], 'compressed')
    requireNone(settings, 'kv_cache_scheme', 'the cache of keys and values is not quantised here')
    requireNone(settings, 'sparsity_config', 'only dense weights are supported')
    requireNone(settings, 'transform_config', 'weights are multiplied with activations as they are')
    const schemes = readSchemes(settings)
    return [
      ...tensors.modules('.weight_packed').map((module) => packedWeight(module, schemes, tensors)),
      ...tensors.modules('.weight_scale').map((module) => plainWeight(module, schemes, tensors)),
    ]
  },
}

/** Throws unless a setting is null, empty or `dense`. */
function requireNone(settings: ConfigReader, key: string, why: string): void {
  const value = settings.value(key)
  if (value === undefined || (isJsonObject(value) && (value.format === 'dense' || Object.keys(value).length === 0)))
    return
  throw settings.unsupported(key, value, why)
}

/** A weight of integers in words along inputs, with an offset of half their range. */
function packedWeight(module: string, schemes: readonly Scheme[], tensors: CheckpointTensors): StoredCodes {
  const words = tensors.take(`${module}.weight_packed`, null, { dtypes: ['int32'] })
  const [rows, rowWords] = matrixShape(words)
  const shape = tensors.take(`${module}.weight_shape`, words, { dtypes: ['int64', 'int32'], shape: [2] })
  const bytes = readBytes(shape, tensors.open)
  const stored = shape.dtype === 'int64' ? new BigInt64Array(bytes.buffer, 0, 2) : new Int32Array(bytes.buffer, 0, 2)
  const [storedRows, columns] = [...stored].map(Number) as [number, number]
  const scales = tensors.take(`${module}.weight_scale`, words, { dtypes: floats })
  const fits = ({ type, bits }: Scheme) => type === 'int' && rowWords === Math.ceil((columns * bits) / 32)
  const scheme =
    storedRows === rows && columns > 0 ? schemeFor(scales, [rows, columns], schemes.filter(fits), words) : null
  if (!scheme) {
    const problem = `which cannot hold the [${storedRows}, ${columns}] that ${shape.name} says in the bits of the configuration`
    throw malformed(words.path, `${words.name} is [${words.shape.join(', ')}], ${problem}`)
  }
  const { bits, rowsPerScale, groupSize } = scheme
  if (bits === 4) requireEven(columns, words)
  const [scaleRows, groups] = [Math.ceil(rows / rowsPerScale), Math.ceil(columns / groupSize)]
  const zeros = takeZeros(module, [scaleRows, groups], bits, words, tensors)
  const order = tensors.takeGroups(module, words, columns)
  return new StoredCodes({
    name: `${module}.weight`,
    dtype: `compressed-int${bits}`,
    shape: [rows, columns],
    tensors: [words, shape, scales, ...zeros.tensors, ...(order ? [order] : [])],
    scales: (open) => ({
      bits,
      rowsPerScale,
      groupSize,
      zeros: zeros.read(open) ?? 2 ** (bits - 1),
      scales: readFinite(scales, open),
      groupOfColumn: order && readGroups(order, groups, groupSize, open),
    }),
    // Rows are padded to whole words.
    arranged: (columns * bits) % 32 === 0 ? undefined : (bytes) => firstColumns(bytes, rows, (columns * bits) / 8),
  })
}

/** Returns the first `columns` bytes of each row. */
function firstColumns(bytes: Uint8Array, rows: number, columns: number): Uint8Array {
  const [cut, stride] = [new Uint8Array(rows * columns), bytes.length / rows]
  for (let row = 0; row < rows; row++) cut.set(bytes.subarray(row * stride, row * stride + columns), row * columns)
  return cut
}

/** Takes the zeros [rows, groups] if there are any: in words along outputs like codes, or in a signed byte each. */
function takeZeros(
  module: string,
  [rows, groups]: readonly [number, number],
  bits: 4 | 8,
  of: NamedTensor,
  tensors: CheckpointTensors,
) {
  const name = `${module}.weight_zero_point`
  const areBytes = tensors.remaining.get(name)?.dtype === 'I8'
  const words = { dtypes: ['int32'] as const, shape: [Math.ceil((rows * bits) / 32), groups] }
  const zeros = tensors.takeIfThere(name, of, areBytes ? { dtypes: ['I8'] } : words)
  if (zeros && areBytes) requireScaleShape(zeros, [rows, groups], of)
  return {
    tensors: zeros ? [zeros] : [],
    /** The zeros plus half their range, so that none is negative. */
    read(open: OpenFile): Uint8Array | null {
      if (!zeros) return null
      return areBytes ? zerosOfBytes(zeros, bits, open) : zerosAlongOutputs(readWords(zeros, open), bits, rows, groups)
    },
  }
}

/** Converts words [⌈rows · bits / 32⌉, groups] along rows to bytes [rows, groups]. */
function zerosAlongOutputs(words: Uint32Array, bits: 4 | 8, rows: number, groups: number): Uint8Array {
  const wordsByGroup = transposed(words, words.length / groups, groups)
  const padded = (words.length / groups) * (32 / bits)
  return transposed(codesOfWords(wordsByGroup, bits), groups, padded).slice(0, rows * groups)
}

/** Converts signed bytes to unsigned codes by adding half their range. */
function zerosOfBytes(zeros: NamedTensor, bits: 4 | 8, open: OpenFile): Uint8Array {
  const half = 2 ** (bits - 1)
  return readBytes(zeros, open).map((byte, i) => {
    const zero = signedBytes[byte]! + half
    if (zero >= 0 && zero < 2 * half) return zero
    throw malformed(zeros.path, `value ${i} of ${zeros.name} is ${zero - half}, which ${bits} bits cannot represent`)
  })
}

/** The values of signed bytes plus 128. */
const bytesFrom128 = signedBytes.map((value) => value + 128)

/** A weight of bytes [out, in]: 8-bit floats or integers. */
function plainWeight(module: string, schemes: readonly Scheme[], tensors: CheckpointTensors): StoredCodes {
  const scales = tensors.take(`${module}.weight_scale`, null, { dtypes: floats })
  const name = `${module}.weight`
  const found = tensors.remaining.get(name)
  const codes: NamedTensor = found ? { ...found, name } : tensors.take(name, scales, { dtypes: [] })
  const type = codes.dtype === 'I8' ? 'int' : 'float'
  // 4-bit integers may have a byte each.
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
    return e4m3Weight(module, scales, [rowsPerScale, groupSize], tensors, 'compressed-fp8')
  }
  tensors.take(name, scales, { dtypes: ['I8'] })
  const groups = Math.ceil(columns / groupSize)
  const zeros = takeZeros(module, [Math.ceil(rows / rowsPerScale), groups], 8, codes, tensors)
  const order = tensors.takeGroups(module, codes, columns)
  return new StoredCodes({
    name,
    dtype: 'compressed-int8',
    shape: [rows, columns],
    tensors: [codes, scales, ...zeros.tensors, ...(order ? [order] : [])],
    scales: (open) => ({
      bits: 8,
      table: zeros.tensors.length > 0 ? bytesFrom128 : signedBytes,
      rowsPerScale,
      groupSize,
      groupOfColumn: order && readGroups(order, groups, groupSize, open),
      zeros: zeros.read(open) ?? 0,
      scales: readFinite(scales, open),
    }),
  })
}

/** Throws if 8-bit floats have zero points other than zero. */
function requireNoZeros(module: string, tensors: CheckpointTensors): void {
  const name = `${module}.weight_zero_point`
  const zeros = tensors.remaining.get(name)
  if (!zeros || readBytes(zeros, tensors.open).every((byte) => (byte & 0x7f) === 0)) return
  throw new UsageError('unsupported-option', `${zeros.path}: ${name} is not zero, which is not supported of floats.`)
}

function readSchemes(settings: ConfigReader): Scheme[] {
  const groups = settings.value('config_groups')
  if (!isJsonObject(groups)) throw settings.malformed('config_groups', 'an object', groups)
  return Object.entries(groups).flatMap(([name, group]) => {
    const weights = isJsonObject(group) ? (group.weights ?? null) : undefined
    if (weights === null) return []
    if (!isJsonObject(weights)) throw settings.malformed(`config_groups.${name}.weights`, 'an object', weights)
    const { format = null } = group as JsonObject
    const read = new ConfigReader(
      inLowerCase({ ...weights, format }),
      `${settings.source}.config_groups.${name}.weights`,
    )
    read.require('format', compressedFormats, compressedFormats[0])
    read.require('type', ['int', 'float'], 'int')
    const type = (read.value('type') ?? 'int') as Scheme['type']
    read.require('num_bits', type === 'int' ? [4, 8] : [8], 8)
    // Another order of columns comes with a tensor of each one's group.
    read.require('actorder', [false, true, 'group', 'weight', 'static', 'dynamic'], false)
    return [{ type, bits: read.integer('num_bits', 8) as 4 | 8, block: blockOf(read) }]
  })
}

function blockOf(read: ConfigReader): Parameters<typeof e4m3Weight>[2] {
  const { group_size: size = null } = read.json
  const implied = size === null ? 'tensor' : size === -1 ? 'channel' : 'group'
  read.require('strategy', ['tensor', 'channel', 'group', 'block'], implied)
  switch (read.value('strategy') ?? implied) {
    case 'tensor':
      return [null, null]
    case 'channel':
      return [1, null]
    case 'group':
      return [1, read.integer('group_size')]
    default: {
      const block = read.value('block_structure')
      // Older files write 128x128.
      const sizes = typeof block === 'string' ? block.split('x').map(Number) : block
      return new ConfigReader({ block_structure: sizes }, read.source).integers('block_structure', 2) as [
        number,
        number,
      ]
    }
  }
}

/** Returns the scheme that fits the shape of the scales; null if there is no scheme. */
function schemeFor(
  scales: NamedTensor,
  [rows, columns]: readonly [number, number],
  schemes: readonly Scheme[],
  of: NamedTensor,
) {
  const sized = schemes.map(({ bits, block }) => ({
    bits,
    rowsPerScale: block[0] ?? rows,
    groupSize: block[1] ?? columns,
  }))
  const shapes = sized.map(({ rowsPerScale, groupSize }) => [
    Math.ceil(rows / rowsPerScale),
    Math.ceil(columns / groupSize),
  ])
  const without = (shape: readonly number[]) => shape.filter((size) => size !== 1).join()
  // Two-dimensional blocks may be smaller at the edges, and there may be fewer inputs than a group has.
  const isWhole = ({ rowsPerScale, groupSize }: (typeof sized)[number]) =>
    rowsPerScale > 1 || columns < groupSize || columns % groupSize === 0
  const at = shapes.findIndex((shape, i) => isWhole(sized[i]!) && without(shape) === without(scales.shape))
  if (at >= 0 || sized.length === 0) return sized[at] ?? null
  if (!isWhole(sized[0]!)) countGroups(columns, sized[0]!.groupSize, of)
  requireScaleShape(scales, shapes[0]!, of)
  return null
}
