/**
 * One harness for every operation of `lib/native/addon.ts`: it makes operands in the memory layouts that the operation accepts,
 * runs it, and compares what it wrote with a float64 reference. The device comes from MORA_TEST_DEVICE (`cpu`), so that
 * every backend meets the same table.
 */

import { expect } from 'vitest'
import { type RandomStream, randomStream } from '../../lib/common/random.js'
import {
  type DeviceFacts,
  type DType,
  type FloatDType,
  type NativeDevice,
  type NativeTensor,
  native,
} from '../../lib/native/addon.js'
import {
  bfloat16BitsToFloat32,
  float16BitsToFloat32,
  float32ToBfloat16Bits,
  float32ToFloat16Bits,
} from '../../lib/tensor/half.js'
import { Host, indices } from './host.js'

export type ActivationDType = FloatDType
export const activationDTypes = ['float32', 'bfloat16', 'float16'] as const
/** Every second row of a matrix may lie anywhere (`rows`), or every element may (`any`), or there are no gaps (`dense`). */
type Layouts = 'dense' | 'rows' | 'any'

export interface Operand {
  readonly shape: readonly number[]
  /** `activation` is the dtype of the run. */
  readonly dtype: 'activation' | DType
  /** `in` must not change; `out` starts as NaN; `inout` is read and written. Default `in`. */
  readonly role?: 'in' | 'out' | 'inout'
  /** Default: standard normal numbers. */
  readonly values?: ArrayLike<number> | ((random: RandomStream, index: number) => number)
  readonly layouts?: Layouts
}

export type Operands = Readonly<Record<string, Operand>>

export interface OperationCase<O extends Operands = Operands> {
  readonly name: string
  readonly operands: O
  /** Dtypes in which the case makes sense; default all. */
  readonly dtypes?: readonly ActivationDType[]
  /** Whether a device supports the case; default: every one does. */
  readonly needs?: (facts: DeviceFacts) => boolean
  call(tensors: { readonly [name in keyof O]: NativeTensor }): void
  /** Expected values of every `out` or `inout` operand after the call, from the values before it. */
  reference(values: { readonly [name in keyof O]: Host }): { readonly [name in keyof O]?: Host }
  /**
   * Allowed error beside the rounding of the result, as a share of the largest value. Default 4e-6: float32 sums of up
   * to a few hundred terms. float16 keeps 3 bits more than bfloat16, so its roundings may cost an eighth.
   */
  readonly slack?: { readonly float32?: number; readonly bfloat16?: number }
}

/** Types a case. */
export function operationCase<const O extends Operands>(description: OperationCase<O>): OperationCase {
  return description as unknown as OperationCase
}

let opened: NativeDevice | null = null

/** The device under test. */
export function testDevice(): NativeDevice {
  const [kind = 'cpu', index = '0'] = (process.env.MORA_TEST_DEVICE ?? 'cpu').split(':')
  opened ??= native.openDevice(kind, Number(index), 2)
  return opened
}

const defaultSlack = 4e-6

function slackOf({ slack = {} }: OperationCase, dtype: ActivationDType): number {
  const { float32 = defaultSlack, bfloat16 = defaultSlack } = slack
  return { float32, bfloat16, float16: Math.max(float32, bfloat16 / 8) }[dtype]
}

/** Smaller results may become 0; below 2^-14, float16 has steps of 2^-24. */
const underflow = (dtype: DType): number => (dtype === 'float16' ? 2 ** -24 : 2 ** -126)
/** Half a unit in the last place of each result dtype, and as much again for a result that is rounded twice. */
const rounding: Partial<Record<DType, number>> = { float32: 2 ** -22, bfloat16: 2 ** -8, float16: 2 ** -10 }

const layouts = ['dense', 'apart', 'transposed'] as const
type Layout = (typeof layouts)[number]

/** Whether a case has an operand large enough for several threads, or for many blocks of a GPU. */
export const isLarge = ({ operands }: OperationCase): boolean =>
  Object.values(operands).some(({ shape }) => shape.reduce((a, b) => a * b, 1) > 20_000)

/** Runs a case in one dtype over every layout that its operands accept, or one layout for large operands. */
export async function runCase(test: OperationCase, dtype: ActivationDType): Promise<void> {
  const large = isLarge(test)
  for (const layout of large ? layouts.slice(1, 2) : layouts) {
    const fits = Object.values(test.operands).some(
      (operand) => large || layout === 'dense' || layoutOf(operand, layout) !== 'dense',
    )
    if (fits) await runOnce(test, dtype, layout)
  }
}

async function runOnce(test: OperationCase, dtype: ActivationDType, layout: Layout): Promise<void> {
  const random = randomStream(1, 'test', test.name)
  const placed = Object.entries(test.operands).map(([name, operand]) => {
    return { name, operand, ...place(operand, dtype, layoutOf(operand, layout), random) }
  })
  test.call(Object.fromEntries(placed.map(({ name, view }) => [name, view])))
  const after = await Promise.all(placed.map(({ storage }) => storage.read()))
  const expected = test.reference(Object.fromEntries(placed.map(({ name, values }) => [name, values])))

  for (const [i, { name, operand, before, offsets, resolved }] of placed.entries()) {
    const where = `${name}, ${dtype}, ${layout}`
    const bits = after[i]!
    const written = operand.role === undefined || operand.role === 'in' ? [] : offsets
    const inside = new Uint8Array(bits.length)
    for (const at of written) inside[at] = 1
    const touched = bits.findIndex((value, at) => inside[at] === 0 && !Object.is(value, before[at]))
    expect(touched, `${where}: element ${touched} of the memory is not the operation's to write`).toBe(-1)
    if (written.length === 0) continue
    const wanted = expected[name]
    if (!wanted) throw new Error(`The reference of ${test.name} says nothing of ${name}.`)
    expectClose(decode(bits, resolved, offsets), wanted, resolved, slackOf(test, dtype), where)
  }
  for (const { view, storage } of placed) {
    view.dispose()
    storage.dispose()
  }
}

/** Compares numbers with their reference; the error may be a rounding of the result plus `slack` of the largest. */
export function expectClose(got: Float64Array, wanted: Host, dtype: DType, slack: number, where: string): void {
  expect(got.length, where).toBe(wanted.values.length)
  const largest = wanted.values.reduce(
    (most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most),
    0,
  )
  const unit = rounding[dtype]
  for (const [i, value] of wanted.values.entries()) {
    const allowed = unit === undefined ? 0 : unit * Math.abs(value) + slack * largest + underflow(dtype)
    if (Math.abs(got[i]! - value) <= allowed || Object.is(got[i], value)) continue
    const index = [...indices(wanted.shape)][i]
    expect.fail(`${where}: element [${index}] is ${got[i]}, expected ${value} within ${allowed}`)
  }
}

function layoutOf(operand: Operand, layout: Layout): Layout {
  const accepted = operand.layouts ?? (operand.shape.length > 1 ? 'rows' : 'dense')
  if (operand.shape.length < 2 || accepted === 'dense') return 'dense'
  return layout === 'transposed' && accepted === 'rows' ? 'apart' : layout
}

/** Puts an operand's values into memory whose gaps hold NaN (or -1), so that a stray read or write is seen. */
function place(operand: Operand, activation: ActivationDType, layout: Layout, random: RandomStream) {
  const { shape } = operand
  const dtype = operand.dtype === 'activation' ? activation : operand.dtype
  const { size, strides, start } = memoryOf(shape, layout)
  let offsets = [start]
  for (const [d, size] of shape.entries())
    offsets = offsets.flatMap((at) => Array.from({ length: size }, (_, i) => at + i * strides[d]!))
  const floats = rounding[dtype] !== undefined
  const plain = new Float64Array(size).fill(floats ? Number.NaN : -1)
  const make = operand.values ?? ((stream: RandomStream) => stream.normal())
  for (const [i, at] of offsets.entries()) {
    if (operand.role !== 'out') plain[at] = typeof make === 'function' ? make(random, i) : make[i]!
  }
  const before = encode(plain, dtype)
  const storage = native.fromArray(testDevice(), dtype, [size], before)
  const values = new Host(shape, decode(before, dtype, offsets))
  return { storage, view: storage.view(shape, strides, start), before, offsets, values, resolved: dtype }
}

function memoryOf(shape: readonly number[], layout: Layout): { size: number; strides: number[]; start: number } {
  const order = shape.map((_, d) => d)
  if (layout === 'transposed') order.splice(-2, 2, shape.length - 1, shape.length - 2)
  const strides = new Array<number>(shape.length)
  const gap = layout === 'dense' ? 0 : 5
  let size = 1
  for (const [place, d] of [...order].reverse().entries()) {
    strides[d] = size
    size *= shape[d]! + (place === 0 ? gap : 0)
  }
  return { size: size + (gap > 0 ? 3 : 0), strides, start: gap > 0 ? 3 : 0 }
}

type Bits = Float32Array | Uint16Array | Int32Array | BigInt64Array | Uint8Array

export function encode(values: ArrayLike<number>, dtype: DType): Bits {
  if (dtype === 'float32') return Float32Array.from(values)
  if (dtype === 'bfloat16') return Uint16Array.from(values, float32ToBfloat16Bits)
  if (dtype === 'float16') return Uint16Array.from(values, float32ToFloat16Bits)
  if (dtype === 'int32') return Int32Array.from(values)
  if (dtype === 'int64') return BigInt64Array.from(Array.from(values, BigInt))
  return Uint8Array.from(values)
}

export function decode(bits: Bits, dtype: DType, offsets: readonly number[] = [...bits.keys()]): Float64Array {
  const plain = (at: number): number => {
    const value = bits[at]!
    if (dtype === 'bfloat16') return bfloat16BitsToFloat32(value as number)
    return dtype === 'float16' ? float16BitsToFloat32(value as number) : Number(value)
  }
  return Float64Array.from(offsets, plain)
}
