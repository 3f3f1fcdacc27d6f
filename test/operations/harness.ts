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
import { float32FromHalf, halfFromFloat32 } from '../../lib/tensor/half.js'
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
  const random = randomStream(1, 'test', test.name)
  const operands = Object.entries(test.operands).map(([name, operand]) => ({ name, ...made(operand, dtype, random) }))
  const expected = test.reference(
    Object.fromEntries(operands.map(({ name, values }) => [name, new Host(values.shape, values.values)])),
  )
  for (const layout of large ? layouts.slice(1, 2) : layouts) {
    const fits = Object.values(test.operands).some(
      (operand) => large || layout === 'dense' || layoutOf(operand, layout) !== 'dense',
    )
    if (fits) await runOnce(test, operands, expected, dtype, layout)
  }
}

async function runOnce(
  test: OperationCase,
  operands: readonly Made[],
  expected: { readonly [name: string]: Host | undefined },
  dtype: ActivationDType,
  layout: Layout,
): Promise<void> {
  const placed = operands.map((made) => ({ ...made, ...place(made, layoutOf(made.operand, layout)) }))
  test.call(Object.fromEntries(placed.map(({ name, view }) => [name, view])))
  const after = await Promise.all(placed.map(({ storage }) => storage.read()))

  for (const [i, { name, operand, before, offsets, resolved }] of placed.entries()) {
    const where = `${name}, ${dtype}, ${layout}`
    const bits = after[i]!
    const isWritten = operand.role === 'out' || operand.role === 'inout'
    const touched = firstDifference(bits, before, isWritten ? offsets : [])
    expect(touched, `${where}: element ${touched} of the memory is not the operation's to write`).toBe(-1)
    if (offsets.length === 0 || !isWritten) continue
    const wanted = expected[name]
    if (!wanted) throw new Error(`The reference of ${test.name} says nothing of ${name}.`)
    expectClose(gathered(decode(bits, resolved), offsets), wanted, resolved, slackOf(test, dtype), where)
  }
  for (const { view, storage } of placed) {
    view.dispose()
    storage.dispose()
  }
}

/** The first element outside of `written` that is not as before, or -1. */
function firstDifference(after: Bits, before: Bits, written: ArrayLike<number>): number {
  const inside = new Uint8Array(after.length)
  for (let i = 0; i < written.length; i++) inside[written[i]!] = 1
  for (let at = 0; at < after.length; at++) if (inside[at] === 0 && !Object.is(after[at], before[at])) return at
  return -1
}

/** Compares numbers with their reference; the error may be a rounding of the result plus `slack` of the largest. */
export function expectClose(got: Float64Array, wanted: Host, dtype: DType, slack: number, where: string): void {
  const { values } = wanted
  expect(got.length, where).toBe(values.length)
  let largest = 0
  for (let i = 0; i < values.length; i++)
    if (Number.isFinite(values[i])) largest = Math.max(largest, Math.abs(values[i]!))
  const unit = rounding[dtype]
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!
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

interface Made {
  readonly name: string
  readonly operand: Operand
  readonly resolved: DType
  /** As the dtype rounds them; those of an `out` are unset. */
  readonly values: Host
}

function made(operand: Operand, activation: ActivationDType, random: RandomStream): Omit<Made, 'name'> {
  const { shape, role, values = (stream: RandomStream) => stream.normal() } = operand
  const resolved = operand.dtype === 'activation' ? activation : operand.dtype
  const plain = new Float64Array(shape.reduce((a, b) => a * b, 1)).fill(unset(resolved))
  if (role !== 'out')
    for (let i = 0; i < plain.length; i++) plain[i] = typeof values === 'function' ? values(random, i) : values[i]!
  return { operand, resolved, values: new Host(shape, decode(encode(plain, resolved), resolved)) }
}

/** What lies in gaps and in memory without values, so that a stray read or write is seen. */
const unset = (dtype: DType): number => (rounding[dtype] === undefined ? -1 : Number.NaN)

/** Puts an operand's values into memory with gaps. */
function place({ resolved, values: { shape, values } }: Made, layout: Layout) {
  const { size, strides, start } = memoryOf(shape, layout)
  const offsets = offsetsOf(shape, strides, start)
  const plain = new Float64Array(size).fill(unset(resolved))
  for (let i = 0; i < values.length; i++) plain[offsets[i]!] = values[i]!
  const before = encode(plain, resolved)
  const storage = native.fromArray(testDevice(), resolved, [size], before)
  return { storage, view: storage.view(shape, strides, start), before, offsets }
}

function gathered(values: Float64Array, offsets: Int32Array): Float64Array {
  const picked = new Float64Array(offsets.length)
  for (let i = 0; i < picked.length; i++) picked[i] = values[offsets[i]!]!
  return picked
}

/** Where the elements of a shape lie, in their order. */
function offsetsOf(shape: readonly number[], strides: readonly number[], start: number): Int32Array {
  let offsets = Int32Array.of(start)
  for (const [d, size] of shape.entries()) {
    const next = new Int32Array(offsets.length * size)
    for (let i = 0; i < next.length; i++) next[i] = offsets[Math.floor(i / size)]! + (i % size) * strides[d]!
    offsets = next
  }
  return offsets
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

// Typed arrays are copied or filled in loops, because their `from` makes a list first.
export function encode(values: ArrayLike<number>, dtype: DType): Bits {
  if (dtype === 'bfloat16' || dtype === 'float16') return halfFromFloat32(values, dtype)
  if (dtype === 'float32') return new Float32Array(values)
  if (dtype === 'int32') return new Int32Array(values)
  if (dtype === 'int64') return BigInt64Array.from(Array.from(values, BigInt))
  return new Uint8Array(values)
}

export function decode(bits: Bits, dtype: DType): Float64Array {
  if (bits instanceof BigInt64Array) return Float64Array.from(bits, Number)
  if (dtype === 'bfloat16' || dtype === 'float16') return new Float64Array(float32FromHalf(bits as Uint16Array, dtype))
  return new Float64Array(bits)
}
