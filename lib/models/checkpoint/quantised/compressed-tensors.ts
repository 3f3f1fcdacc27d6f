/** compressed-tensors, as LLM Compressor writes it: integers in words or bytes, and 8-bit floats. Activations stay as they are. */

import { isJsonObject, type JsonObject } from '../../../io/json.js'
import { malformed } from '../../../io/open.js'
import { transposed } from '../../../tensor/transpose.js'
import { ConfigReader } from '../../families/config-reader.js'
import { signedBytes } from './bitsandbytes.js'
import type { QuantisationFormat } from './format.js'
import { e4m3Weight, requireScaleShape } from './fp8.js'
import {
  bytesOfParts,
  type CheckpointTensors,
  codesOfWords,
  countGroups,
  matrixShape,
  type NamedTensor,
  type QuantisedWeight,
  readBytes,
  readFinite,
  readGroups,
  readWords,
  requireEven,
} from './tensors.js'

const formats = ['pack-quantized', 'int-quantized', 'float-quantized', 'naive-quantized', 'mixed-precision']
const floats = ['bfloat16', 'float16', 'float32'] as const

export const compressedTensors: QuantisationFormat = {
  method: 'compressed-tensors',
  weights(settings, tensors) {
    settings.require('format', formats, undefined)
    settings.require('quantization_status', ['compressed'], 'compressed')
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

/** How the weights of some layers are quantised. */
interface Scheme {
  readonly type: 'int' | 'float'
  readonly bits: 4 | 8
  /** Rows and columns of a scale's block; null is all of them. */
  readonly block: readonly [number | null, number | null]
}

function readSchemes(settings: ConfigReader): Scheme[] {
  const groups = settings.value('config_groups')
  if (!isJsonObject(groups)) throw settings.malformed('config_groups', 'an object', groups)
  return Object.entries(groups).flatMap(([name, group]) => {
    const weights = isJsonObject(group) ? (group.weights ?? null) : undefined
    if (weights === null) return []
    if (!isJsonObject(weights)) throw settings.malformed(`config_groups.${name}.weights`, 'an object', weights)
    const { format = null } = group as JsonObject
    const read = new ConfigReader({ ...weights, format }, `${settings.source}.config_groups.${name}.weights`)
    read.require('format', formats, formats[0])
    read.require('type', ['int', 'float'], 'int')
    const type = (read.value('type') ?? 'int') as Scheme['type']
    read.require('num_bits', type === 'int' ? [4, 8] : [8], 8)
    read.require('strategy', ['tensor', 'channel', 'group', 'block'], undefined)
    read.require('actorder', [false, 'group', 'weight', 'static'], false)
    return [{ type, bits: read.integer('num_bits', 8) as 4 | 8, block: blockOf(read) }]
  })
}

function blockOf(read: ConfigReader): Scheme['block'] {
  switch (read.value('strategy')) {
    case 'tensor':
      return [null, null]
    case 'channel':
      return [1, null]
    case 'group':
      return [1, read.integer('group_size')]
    default:
      return read.positives('block_structure', 2) as [number, number]
  }
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
  const [scaleRows, groups] = [Math.ceil(rows / rowsPerScale), columns / groupSize]
  const wantedZeros = { dtypes: ['int32'] as const, shape: [Math.ceil((scaleRows * bits) / 32), groups] }
  const zeros = tensors.takeIfThere(`${module}.weight_zero_point`, words, wantedZeros)
  const order = tensors.takeIfThere(`${module}.weight_g_idx`, words, { dtypes: ['int32'], shape: [columns] })
  const parts = [words, shape, scales, ...(zeros ? [zeros] : []), ...(order ? [order] : [])]
  return {
    name: `${module}.weight`,
    path: words.path,
    dtype: `compressed-int${bits}`,
    shape: [rows, columns],
    bytes: bytesOfParts(parts),
    parts,
    scales: (open) => ({
      rows,
      columns,
      bits,
      highFirst: false,
      table: null,
      rowsPerScale,
      groupSize,
      runsOn: false,
      zeros: zeros ? zerosAlongOutputs(readWords(zeros, open), bits, scaleRows, groups) : 2 ** (bits - 1),
      scales: readFinite(scales, open),
      groupOfColumn: order && readGroups(order, groups, groupSize, open),
    }),
    codes: words,
  }
}

/** From words [⌈rows · bits / 32⌉, groups] along rows to bytes [rows, groups]. */
function zerosAlongOutputs(words: Uint32Array, bits: 4 | 8, rows: number, groups: number): Uint8Array {
  const turned = transposed(words, words.length / groups, groups)
  const padded = (words.length / groups) * (32 / bits)
  return transposed(codesOfWords(turned, bits), groups, padded).slice(0, rows * groups)
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
  const candidates = schemes.filter((scheme) => scheme.type === type && scheme.bits === 8)
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
    return { ...e4m3Weight(module, scales, [rowsPerScale, groupSize], tensors), dtype: 'compressed-fp8' }
  }
  tensors.take(name, scales, { dtypes: ['I8'] })
  const groups = Math.ceil(columns / groupSize)
  const zeros = tensors.takeIfThere(`${module}.weight_zero_point`, codes, { dtypes: ['I8'] })
  if (zeros) requireScaleShape(zeros, [Math.ceil(rows / rowsPerScale), groups], codes)
  const parts = [codes, scales, ...(zeros ? [zeros] : [])]
  return {
    name,
    path: codes.path,
    dtype: 'compressed-int8',
    shape: [rows, columns],
    bytes: bytesOfParts(parts),
    parts,
    scales: (open) => ({
      rows,
      columns,
      bits: 8,
      highFirst: false,
      table: zeros ? bytesFrom128 : signedBytes,
      rowsPerScale,
      groupSize,
      runsOn: false,
      groupOfColumn: null,
      zeros: zeros ? readBytes(zeros, open).map((zero) => zero ^ 0x80) : 0,
      scales: readFinite(scales, open),
    }),
    codes,
  }
}

/** The scheme whose scales have the shape of those there; null where there is none to choose from. */
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
  const wanted = sized.map(({ rowsPerScale, groupSize }) => {
    // Blocks at the edge may be smaller where they have two dimensions.
    const groups = rowsPerScale === 1 ? countGroups(columns, groupSize, of) : Math.ceil(columns / groupSize)
    return [Math.ceil(rows / rowsPerScale), groups]
  })
  const without = (shape: readonly number[]) => shape.filter((size) => size !== 1).join()
  const at = wanted.findIndex((shape) => without(shape) === without(scales.shape))
  if (at < 0 && wanted.length > 0) requireScaleShape(scales, wanted[0]!, of)
  return sized[at] ?? null
}
