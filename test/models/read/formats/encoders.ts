/**
 * Quantised weights as stored in files, encoded by each format's definition, with their values in float64: random codes, scales
 * and zeros, in shapes and options that tools write and the golden data lacks.
 */
import type { RandomStream } from '../../../../lib/common/random.js'
import type { RawTensor } from '../../../golden/tensor-files.js'

export const layer = 'model.layers.0.self_attn.q_proj'

export interface Encoded {
  /** `quantization_config` */
  settings: object
  tensors: Map<string, RawTensor>
  /** [rows, columns] */
  shape: readonly [number, number]
  values: Float64Array
}

interface Shape {
  rows: number
  columns: number
}

type Scale = 'F16' | 'BF16' | 'F32'

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => new Uint8Array(buffer, byteOffset, byteLength)
const tensor = (dtype: string, shape: number[], values: ArrayBufferView): RawTensor => ({
  dtype,
  shape,
  bytes: bytesOf(values),
})
const floats = (values: readonly number[], shape: number[] = [values.length]) =>
  tensor('F32', shape, Float32Array.from(values))
const named = (entries: Record<string, RawTensor | null>): Map<string, RawTensor> =>
  new Map(
    Object.entries(entries).flatMap(([name, value]): [string, RawTensor][] =>
      value ? [[`${layer}.${name}`, value]] : [],
    ),
  )
const listOf = <T>(length: number, make: (i: number) => T): T[] => Array.from({ length }, (_, i) => make(i))
const whole = (random: RandomStream, below: number) => random.uint32() % below
const float32Of = (random: RandomStream) => Math.fround(random.normal())

/** Random floats of a dtype, by their bits. */
function scalesOf(random: RandomStream, dtype: Scale, shape: number[]): { stored: RawTensor; values: number[] } {
  const count = shape.reduce((product, size) => product * size, 1)
  if (dtype === 'F32') {
    const values = listOf(count, () => float32Of(random))
    return { stored: floats(values, shape), values }
  }
  const [exponentBits, bias] = dtype === 'F16' ? [5, 15] : [8, 127]
  const fractionBits = 15 - exponentBits
  const parts = listOf(
    count,
    () => [whole(random, 2), bias - whole(random, 8), whole(random, 2 ** fractionBits)] as const,
  )
  const bits = parts.map(([sign, exponent, fraction]) => (sign << 15) | (exponent << fractionBits) | fraction)
  const values = parts.map(
    ([sign, exponent, fraction]) => (1 - 2 * sign) * 2 ** (exponent - bias) * (1 + fraction / 2 ** fractionBits),
  )
  return { stored: tensor(dtype, shape, Uint16Array.from(bits)), values }
}

/** [rows, columns] of words along columns, lowest bits first; each row is filled up to whole words. */
function words(codes: readonly number[], rows: number, columns: number, bits: number): Uint32Array {
  const [each, wide] = [32 / bits, Math.ceil((columns * bits) / 32)]
  const packed = new Uint32Array(rows * wide)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      packed[row * wide + Math.floor(column / each)]! |= codes[row * columns + column]! << (bits * (column % each))
    }
  return packed
}

/** The other way round: [columns, rows] of a matrix [rows, columns]. */
function turned<T>(values: readonly T[], rows: number, columns: number): T[] {
  return listOf(rows * columns, (i) => values[(i % rows) * columns + Math.floor(i / rows)]!)
}

function valuesOf(
  { rows, columns }: Shape,
  value: (row: number, column: number) => number,
): Pick<Encoded, 'shape' | 'values'> {
  const values = Float64Array.from({ length: rows * columns }, (_, i) => value(Math.floor(i / columns), i % columns))
  return { shape: [rows, columns], values }
}

/** Groups of inputs: in order, or in the activations' order, where every group gets its share. */
function groupsOf(random: RandomStream, columns: number, size: number, ordered: boolean): number[] {
  const groups = listOf(columns, (column) => Math.floor(column / size))
  if (ordered) {
    for (let i = columns - 1; i > 0; i--) {
      const other = whole(random, i + 1)
      ;[groups[i], groups[other]] = [groups[other]!, groups[i]!]
    }
  }
  return groups
}

export interface Bnb4 extends Shape {
  type?: 'nf4' | 'fp4'
  block?: number
  nested?: { block: number; offset: number }
  /** The declared dtype of codes. */
  storage?: 'U8' | 'I8' | 'BF16' | 'F16' | 'F32'
}

export function bnb4(random: RandomStream, options: Bnb4): Encoded {
  const { rows, columns, type = 'nf4', block = 64, nested, storage = 'U8' } = options
  const count = rows * columns
  const codes = listOf(count, () => whole(random, 16))
  const map = listOf(16, () => float32Of(random))
  const blocks = Math.ceil(count / block)
  const state = { quant_type: type, blocksize: block, dtype: 'bfloat16', shape: [rows, columns] }
  const packed = Uint8Array.from({ length: count / 2 }, (_, i) => (codes[2 * i]! << 4) | codes[2 * i + 1]!)
  const width = { U8: 1, I8: 1, BF16: 2, F16: 2, F32: 4 }[storage]
  let scales: number[]
  let parts: Record<string, RawTensor | null>
  if (nested) {
    const inner = listOf(blocks, () => whole(random, 256))
    const innerMap = listOf(256, () => float32Of(random))
    const outer = listOf(Math.ceil(blocks / nested.block), () => float32Of(random))
    // Scales are made in float32.
    scales = inner.map((code, i) =>
      Math.fround(Math.fround(innerMap[code]! * outer[Math.floor(i / nested.block)]!) + Math.fround(nested.offset)),
    )
    Object.assign(state, { nested_blocksize: nested.block, nested_dtype: 'float32', nested_offset: nested.offset })
    parts = {
      'weight.absmax': tensor('U8', [blocks], Uint8Array.from(inner)),
      'weight.nested_absmax': floats(outer),
      'weight.nested_quant_map': floats(innerMap),
    }
  } else {
    scales = listOf(blocks, () => float32Of(random))
    parts = { 'weight.absmax': floats(scales) }
  }
  const stateBytes = Buffer.from(JSON.stringify(state))
  return {
    settings: { quant_method: 'bitsandbytes', load_in_4bit: true, bnb_4bit_quant_type: type },
    tensors: named({
      weight: tensor(storage, [count / 2 / width, 1], packed),
      'weight.quant_map': floats(map),
      [`weight.quant_state.bitsandbytes__${type}`]: tensor('U8', [stateBytes.length], stateBytes),
      ...parts,
    }),
    ...valuesOf(options, (row, column) => {
      const at = row * columns + column
      return map[codes[at]!]! * scales[Math.floor(at / block)]!
    }),
  }
}

export function llmInt8(random: RandomStream, shape: Shape & { format?: boolean; threshold?: number }): Encoded {
  const { rows, columns, format = true, threshold = 6 } = shape
  const codes = Int8Array.from({ length: rows * columns }, () => whole(random, 256) - 128)
  const largest = listOf(rows, () => float32Of(random))
  return {
    settings: { quant_method: 'bitsandbytes', load_in_8bit: true, llm_int8_threshold: threshold },
    tensors: named({
      weight: tensor('I8', [rows, columns], codes),
      SCB: floats(largest),
      weight_format: format ? tensor('U8', [], Uint8Array.of(0)) : null,
    }),
    ...valuesOf(shape, (row, column) => (codes[row * columns + column]! * largest[row]!) / 127),
  }
}

export interface Gptq extends Shape {
  bits?: 4 | 8
  /** -1: one group. */
  group?: number
  ordered?: boolean
  symmetric?: boolean
  version?: 1 | 2
  scale?: Scale
  indices?: boolean
}

export function gptq(random: RandomStream, options: Gptq): Encoded {
  const {
    rows,
    columns,
    bits = 4,
    group = 32,
    ordered = false,
    symmetric = false,
    version = 1,
    scale = 'F16',
  } = options
  const size = group === -1 ? columns : group
  const groups = Math.ceil(columns / size)
  const codes = listOf(rows * columns, () => whole(random, 2 ** bits))
  // Zeros of 0 are among them.
  const zeros = listOf(groups * rows, () => (symmetric ? 2 ** (bits - 1) : whole(random, 2 ** bits)))
  const { stored: scales, values } = scalesOf(random, scale, [groups, rows])
  const order = groupsOf(random, columns, size, ordered)
  const storedZeros = words(zeros, groups, rows, bits)
  if (version === 1)
    for (let i = 0; i < storedZeros.length; i++) storedZeros[i]! -= bits === 4 ? 0x11111111 : 0x01010101
  const along = words(codes, rows, columns, bits)
  const wordRows = (columns * bits) / 32
  return {
    settings: {
      quant_method: 'gptq',
      bits,
      group_size: group,
      desc_act: ordered,
      sym: symmetric,
      ...(version === 2 && { checkpoint_format: 'gptq_v2' }),
    },
    tensors: named({
      qweight: tensor('I32', [wordRows, rows], Uint32Array.from(turned([...along], rows, wordRows))),
      qzeros: tensor('I32', [groups, (rows * bits) / 32], storedZeros),
      scales,
      g_idx: (options.indices ?? true) ? tensor('I32', [columns], Int32Array.from(order)) : null,
    }),
    ...valuesOf(options, (row, column) => {
      const at = order[column]! * rows + row
      return values[at]! * (codes[row * columns + column]! - zeros[at]!)
    }),
  }
}

/** Which output has bits 4k and following of a word. */
const awqOrder = [0, 2, 4, 6, 1, 3, 5, 7]

export function awq(random: RandomStream, options: Shape & { group?: number }): Encoded {
  const { rows, columns, group = 32 } = options
  const size = group === -1 ? columns : group
  const groups = columns / size
  // [columns, rows] and [groups, rows]
  const codes = listOf(columns * rows, () => whole(random, 16))
  const zeros = listOf(groups * rows, () => whole(random, 16))
  const { stored: scales, values } = scalesOf(random, 'F16', [groups, rows])
  const packed = (all: readonly number[], count: number) =>
    tensor(
      'I32',
      [count, rows / 8],
      Uint32Array.from(
        listOf((count * rows) / 8, (i) =>
          awqOrder.reduce((word, output, k) => (word | (all[8 * i + output]! << (4 * k))) >>> 0, 0),
        ),
      ),
    )
  return {
    settings: { quant_method: 'awq', bits: 4, group_size: group, version: 'gemm', zero_point: true },
    tensors: named({ qweight: packed(codes, columns), qzeros: packed(zeros, groups), scales }),
    ...valuesOf(options, (row, column) => {
      const at = Math.floor(column / size) * rows + row
      return values[at]! * (codes[column * rows + row]! - zeros[at]!)
    }),
  }
}

export interface Compressed extends Shape {
  format?: 'pack-quantized' | 'int-quantized' | 'float-quantized' | 'naive-quantized'
  type?: 'int' | 'float'
  bits?: 4 | 8
  strategy?: 'tensor' | 'channel' | 'group' | 'block'
  group?: number
  block?: [number, number]
  symmetric?: boolean
  ordered?: boolean
  scale?: Scale
  /** Zeros of packed codes are packed too, unless a strategy or an older version leaves them bytes. */
  zeros?: 'packed' | 'bytes'
}

export function compressed(random: RandomStream, options: Compressed): Encoded {
  const { rows, columns, format = 'pack-quantized', type = 'int', bits = 4, strategy = 'group', group = 32 } = options
  const { block = [1, 1], symmetric = true, ordered = false, scale = 'BF16', zeros: zeroForm = 'packed' } = options
  const [tall, wide] = { tensor: [rows, columns], channel: [1, columns], group: [1, group], block }[strategy] as [
    number,
    number,
  ]
  const [down, across] = [Math.ceil(rows / tall), Math.ceil(columns / wide)]
  const scaleShape = strategy === 'tensor' ? [1] : [down, across]
  const { stored: scales, values } = scalesOf(random, scale, scaleShape)
  const half = 2 ** (bits - 1)
  const code = () => (type === 'int' ? whole(random, 2 * half) - half : finiteE4m3(random))
  const codes = listOf(rows * columns, code)
  const zeros = listOf(down * across, () => (symmetric ? 0 : whole(random, 2 * half) - half))
  const order = groupsOf(random, columns, wide, ordered)
  const isPacked = format === 'pack-quantized'
  const upwards = (all: readonly number[]) => all.map((value) => value + half)
  const packedZeros = () => {
    const along = words(upwards(turned(zeros, down, across)), across, down, bits)
    const deep = along.length / across
    return tensor('I32', [deep, across], Uint32Array.from(turned([...along], across, deep)))
  }
  return {
    settings: {
      quant_method: 'compressed-tensors',
      format,
      quantization_status: 'compressed',
      config_groups: {
        group_0: {
          targets: ['Linear'],
          weights: {
            num_bits: bits,
            type,
            symmetric,
            strategy,
            group_size: strategy === 'group' ? group : null,
            block_structure: strategy === 'block' ? block : null,
            actorder: ordered ? 'group' : null,
          },
        },
      },
    },
    tensors: named({
      ...(isPacked
        ? {
            weight_packed: tensor(
              'I32',
              [rows, Math.ceil((columns * bits) / 32)],
              words(upwards(codes), rows, columns, bits),
            ),
            weight_shape: tensor('I64', [2], BigInt64Array.of(BigInt(rows), BigInt(columns))),
          }
        : {
            weight:
              type === 'int'
                ? tensor('I8', [rows, columns], Int8Array.from(codes))
                : tensor('F8_E4M3', [rows, columns], Uint8Array.from(codes)),
          }),
      weight_scale: scales,
      weight_zero_point: symmetric
        ? null
        : isPacked && zeroForm === 'packed'
          ? packedZeros()
          : tensor('I8', scaleShape, Int8Array.from(zeros)),
      weight_g_idx: ordered ? tensor('I32', [columns], Int32Array.from(order)) : null,
    }),
    ...valuesOf(options, (row, column) => {
      const at = Math.floor(row / tall) * across + order[column]!
      const number = codes[row * columns + column]!
      return values[at]! * ((type === 'int' ? number : e4m3(number)) - zeros[at]!)
    }),
  }
}

/** The value of an 8-bit float with 4 bits of exponent and 3 of fraction. */
function e4m3(code: number): number {
  const [exponent, fraction] = [(code >> 3) & 15, code & 7]
  const size = exponent === 0 ? (fraction / 8) * 2 ** -6 : (1 + fraction / 8) * 2 ** (exponent - 7)
  return code & 0x80 ? -size : size
}

function finiteE4m3(random: RandomStream): number {
  const code = whole(random, 256)
  return (code & 0x7f) === 0x7f ? code - 1 : code
}

export interface Fp8 extends Shape {
  /** Null: one scale for all. */
  block?: [number, number] | null
  scale?: Scale
  /** `weight_scale_inv`, or vLLM's `weight_scale`. */
  name?: string
}

export function fp8(random: RandomStream, options: Fp8): Encoded {
  const { rows, columns, block = [128, 128], scale = 'F32', name = 'weight_scale_inv' } = options
  const [tall, wide] = block ?? [rows, columns]
  const across = Math.ceil(columns / wide)
  const codes = listOf(rows * columns, () => finiteE4m3(random))
  const { stored, values } = scalesOf(random, scale, block ? [Math.ceil(rows / tall), across] : [])
  return {
    settings: { quant_method: 'fp8', activation_scheme: 'dynamic', weight_block_size: block },
    tensors: named({ weight: tensor('F8_E4M3', [rows, columns], Uint8Array.from(codes)), [name]: stored }),
    ...valuesOf(options, (row, column) => {
      return e4m3(codes[row * columns + column]!) * values[Math.floor(row / tall) * across + Math.floor(column / wide)]!
    }),
  }
}

export interface Nvfp4 extends Shape {
  /** Name of the algorithm. */
  algorithm?: string
  /** Shape of the scale of the whole weight. */
  scaleShape?: number[]
}

/** The value of a float of a sign, 2 bits of exponent (bias 1) and one of fraction. */
function e2m1(code: number): number {
  const [exponent, fraction] = [(code >> 1) & 3, code & 1]
  const size = exponent === 0 ? fraction / 2 : (1 + fraction / 2) * 2 ** (exponent - 1)
  return code & 8 ? -size : size
}

/** Model Optimizer's NVFP4: the even of two inputs in the low half of a byte. */
export function nvfp4(random: RandomStream, options: Nvfp4): Encoded {
  const { rows, columns, algorithm = 'NVFP4', scaleShape = [] } = options
  const groups = columns / 16
  const codes = listOf(rows * columns, () => whole(random, 16))
  const scales = listOf(rows * groups, () => finiteE4m3(random) & 0x7f)
  const total = float32Of(random)
  const packed = Uint8Array.from({ length: (rows * columns) / 2 }, (_, i) => codes[2 * i]! | (codes[2 * i + 1]! << 4))
  return {
    settings: { quant_method: 'modelopt', quant_algo: algorithm, ignore: ['lm_head'] },
    tensors: named({
      weight: tensor('U8', [rows, columns / 2], packed),
      weight_scale: tensor('F8_E4M3', [rows, groups], Uint8Array.from(scales)),
      weight_scale_2: floats([total], scaleShape),
    }),
    ...valuesOf(options, (row, column) => {
      const scale = Math.fround(e4m3(scales[row * groups + Math.floor(column / 16)]!) * total)
      return e2m1(codes[row * columns + column]!) * scale
    }),
  }
}

/** Model Optimizer's FP8: one scale, or one for each output. */
export function modeloptFp8(random: RandomStream, options: Shape & { byOutput?: boolean }): Encoded {
  const { rows, columns, byOutput = false } = options
  const codes = listOf(rows * columns, () => finiteE4m3(random))
  const { stored, values } = scalesOf(random, 'F32', byOutput ? [rows] : [])
  return {
    settings: { quant_method: 'modelopt', quant_algo: byOutput ? 'FP8_PER_CHANNEL_PER_TOKEN' : 'FP8' },
    tensors: named({ weight: tensor('F8_E4M3', [rows, columns], Uint8Array.from(codes)), weight_scale: stored }),
    ...valuesOf(options, (row, column) => e4m3(codes[row * columns + column]!) * values[byOutput ? row : 0]!),
  }
}
