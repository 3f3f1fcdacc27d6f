/** bitsandbytes (arXiv 2305.14314 and 2208.07339): blocks of 4-bit codes, and rows of 8-bit integers. */
import { quoted, UsageError } from '../../../common/errors.js'
import { isJsonObject, type JsonObject, parseJson } from '../../../io/json.js'
import { decodeUtf8, malformed } from '../../../io/open.js'
import { countElements } from '../../../io/stored-dtype.js'
import { readBytes, StoredCodes, type StoredFloats } from '../stored-codes.js'
import type { NamedTensor, OpenFile } from '../stored-weight.js'
import { type CheckpointTensors, type QuantisationFormat, readFinite, requireEven } from './format.js'

export const bitsandbytes: QuantisationFormat = {
  method: 'bitsandbytes',
  costs: {
    nf4: { training: 20, decoding: 1 },
    fp4: { training: 20, decoding: 1 },
    'llm-int8': { training: 55, decoding: 4.1 },
  },
  weights(_, tensors) {
    const suffixes = [...tensors.remaining.keys()].flatMap((name) => name.match(/\.quant_state\.(.+)$/)?.[1] ?? [])
    const unknown = suffixes.find((suffix) => !/^bitsandbytes__(nf4|fp4)$/.test(suffix))
    if (unknown) {
      const problem = 'supported are bitsandbytes__nf4 and bitsandbytes__fp4'
      throw new UsageError(
        'unsupported-option',
        `A weight has the state ${quoted(unknown)} of a quantiser: ${problem}.`,
      )
    }
    const blocks = (['nf4', 'fp4'] as const).flatMap((type) => {
      const states = tensors.modules(`.quant_state.bitsandbytes__${type}`)
      return states.map((name) => blockedWeight(name, type, tensors))
    })
    return [...blocks, ...tensors.modules('.SCB').map((module) => integerWeight(module, tensors))]
  },
}

/** A weight of blocks over its rows in sequence; a block may begin in one row and end in the next. */
function blockedWeight(name: string, type: 'nf4' | 'fp4', tensors: CheckpointTensors): StoredCodes {
  const stateName = `${name}.quant_state.bitsandbytes__${type}`
  const state = tensors.take(stateName, null, { dtypes: ['uint8'] })
  // The codes' bytes may be declared as another dtype or floats, which some trainers need.
  const codes = tensors.take(name, state, { dtypes: ['uint8', 'I8', 'bfloat16', 'float16', 'float32'] })
  const settings = parseJson(decodeUtf8(readBytes(state, tensors.open), state.path), `${stateName} in ${state.path}`)
  if (!isJsonObject(settings)) throw malformed(state.path, `${stateName} is not a JSON object`)
  const fail = (key: string) => malformed(state.path, `${stateName} has the ${key} ${quoted(settings[key])}`)
  if (settings.quant_type !== type) throw fail('quant_type')
  const shape = settings.shape as number[]
  const count = Array.isArray(shape) && shape.length === 2 ? countElements(shape) : null
  if (!count) throw fail('shape')
  const [rows, columns] = shape as [number, number]
  requireEven(columns, codes)
  if (codes.bytes !== count / 2) {
    throw malformed(codes.path, `${name} of shape [${shape}] takes ${count / 2} bytes of codes, but has ${codes.bytes}`)
  }
  const groupSize = blockSize(settings, 'blocksize', fail)
  const blocks = Math.ceil(count / groupSize)
  const map = tensors.take(`${name}.quant_map`, codes, { dtypes: ['float32'], shape: [16] })
  const largest = tensors.take(`${name}.absmax`, codes, { dtypes: ['float32', 'uint8'], shape: [blocks] })
  const nested = largest.dtype === 'uint8' ? nestedScales(name, largest, blocks, settings, fail, tensors) : null
  return new StoredCodes({
    name,
    dtype: type,
    shape: [rows, columns],
    tensors: [codes, state, map, largest, ...(nested?.tensors ?? [])],
    scales: (open) => ({
      bits: 4,
      highFirst: true,
      table: readFinite(map, open).data as Float32Array,
      groupSize,
      runsOn: true,
      scales: nested ? nested.read(open) : readFinite(largest, open),
    }),
  })
}

/** Reads scales that are themselves quantised to 8 bits. */
function nestedScales(
  name: string,
  codes: NamedTensor,
  count: number,
  settings: JsonObject,
  fail: (key: string) => Error,
  tensors: CheckpointTensors,
) {
  const perScale = blockSize(settings, 'nested_blocksize', fail)
  const { nested_offset: offset } = settings
  if (typeof offset !== 'number' || !Number.isFinite(offset)) throw fail('nested_offset')
  const map = tensors.take(`${name}.nested_quant_map`, codes, { dtypes: ['float32'], shape: [256] })
  const wanted = { dtypes: ['float32'] as const, shape: [Math.ceil(count / perScale)] }
  const largest = tensors.take(`${name}.nested_absmax`, codes, wanted)
  return {
    tensors: [map, largest],
    read: (open: OpenFile) => ({
      codes: readBytes(codes, open),
      table: readFinite(map, open).data as Float32Array,
      scales: readFinite(largest, open).data as Float32Array,
      perScale,
      offset,
    }),
  }
}

function blockSize(settings: JsonObject, key: string, fail: (key: string) => Error): number {
  const size = settings[key]
  if (typeof size === 'number' && Number.isSafeInteger(size) && size > 1) return size
  throw fail(key)
}

/** LLM.int8: w = integer · absolute maximum of its row / 127. */
function integerWeight(module: string, tensors: CheckpointTensors): StoredCodes {
  const name = `${module}.weight`
  const row = tensors.take(`${module}.SCB`, null, { dtypes: ['float32'] })
  const codes = tensors.take(name, row, {
    dtypes: ['I8'],
    shape: [row.shape[0]!, tensors.remaining.get(name)?.shape[1] ?? 0],
  })
  const [rows, columns] = codes.shape as [number, number]
  const format = tensors.takeIfThere(`${module}.weight_format`, codes, { dtypes: ['uint8'] })
  const order = format ? readBytes(format, tensors.open)[0] : 0
  if (order !== 0) {
    throw new UsageError(
      'unsupported-option',
      `${codes.path}: ${format!.name} is ${order}; only rows (0) are supported.`,
    )
  }
  return new StoredCodes({
    name,
    dtype: 'llm-int8',
    shape: [rows, columns],
    tensors: [codes, row, ...(format ? [format] : [])],
    scales: (open) => ({
      bits: 8,
      table: signedBytes,
      groupSize: columns,
      scales: dividedBy127(readFinite(row, open)),
    }),
  })
}

function dividedBy127({ dtype, data }: StoredFloats): StoredFloats {
  return { dtype, data: data.map((value) => value / 127) }
}

/** The signed value of every byte. */
export const signedBytes = Float32Array.from({ length: 256 }, (_, code) => (code < 128 ? code : code - 256))
