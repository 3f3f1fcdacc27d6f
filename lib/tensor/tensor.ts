import { aFunction, badValue, check, isListOfWholes, isObject, optionsSchema } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import {
  type DType,
  elementsOf,
  type FloatDType,
  isBlockDType,
  type NativeDevice,
  type NativeTensor,
  native,
} from '../native/addon.js'
import { backward } from './backward.js'
import { float32FromHalf, halfFromFloat32 } from './half.js'
import { adopt, forget, keep } from './scope.js'
import type { Recipe, Taped, TapeNode, TapeTarget } from './tape.js'

/** Values on the host: bfloat16 and float16 as their bits in a Uint16Array, int64 in a BigInt64Array. */
export type TypedValues = Float32Array | Uint16Array | Int32Array | BigInt64Array | Uint8Array

/** The device of a tensor, and how its elements are stored. */
export interface TensorOptions {
  /** The device of its memory, from `openDevice`. */
  device: NativeDevice
  /** Default `float32`. */
  dtype?: DType
}

/** A tensor whose elements are float32, as gradients and moments are. */
export interface Float32Tensor extends Tensor {
  /** Reads the values. */
  data(): Promise<Float32Array>
}

type Float32Options = TensorOptions & { dtype?: 'float32' }

/** Where the gradient of one input of an operation goes. */
export type GradientTarget = TapeTarget<Tensor>

const backwardArguments = { options: optionsSchema('the options of backward', { onGradient: aFunction.optional() }) }

/**
 * A strided array on a device, and, where gradients flow, its place on the tape.
 *
 * Lifetimes are explicit: a tensor belongs to the `scope` that it was made in and is freed with it, or by `dispose`.
 * The tape keeps alive what it saves for the backward pass. Values are read with `await data()`; everything else enqueues
 * work and returns at once.
 */
export class Tensor implements Disposable, Taped<Tensor> {
  /** The device of its memory. */
  readonly device: NativeDevice
  /** Dtype of its elements in memory. */
  readonly dtype: DType
  /** Dimensions, the slowest first; [] is a scalar. */
  readonly shape: readonly number[]
  /** Distances between neighbours along each dimension, in elements. */
  readonly strides: readonly number[]
  /** Node on the tape, to which gradients flow; null for constants. */
  node: TapeNode<Tensor> | null = null
  /** A parameter's sum of gradients so far. */
  grad: Tensor | null = null
  /** The recipe for computing this value again instead of saving it, if that is cheap. */
  recipe: Recipe<Tensor> | null = null
  #native: NativeTensor
  #references = 1
  /** Counts changes of the memory; views share it. */
  readonly #changes: { count: number }

  constructor(
    handle: NativeTensor,
    device: NativeDevice,
    dtype: DType,
    shape: readonly number[],
    strides: readonly number[],
    sameMemory?: Tensor,
  ) {
    this.#changes = sameMemory ? sameMemory.#changes : { count: 0 }
    this.#native = handle
    this.device = device
    this.dtype = dtype
    this.shape = shape
    this.strides = strides
    adopt(this)
  }

  /** Allocates an uninitialised dense tensor. Throws `out-of-memory` with the device's figures. */
  static empty(shape: readonly number[], options: Float32Options): Float32Tensor
  static empty(shape: readonly number[], options: TensorOptions): Tensor
  static empty(shape: readonly number[], options: TensorOptions): Tensor {
    requireOptions(options)
    const { device, dtype = 'float32' } = options
    return new Tensor(native.empty(device, dtype, shape), device, dtype, shape, denseStrides(shape))
  }

  /** Allocates a dense tensor of zeros. Throws `out-of-memory` with the device's figures. */
  static zeros(shape: readonly number[], options: Float32Options): Float32Tensor
  static zeros(shape: readonly number[], options: TensorOptions): Tensor
  static zeros(shape: readonly number[], options: TensorOptions): Tensor {
    const tensor = Tensor.empty(shape, options)
    native.fill(tensor.native, 0)
    return tensor
  }

  /** Copies values; numbers and Float32Arrays are rounded to `dtype`, other typed arrays must contain its bits. */
  static from(values: TypedValues | readonly number[], shape: readonly number[], options: Float32Options): Float32Tensor
  static from(values: TypedValues | readonly number[], shape: readonly number[], options: TensorOptions): Tensor
  static from(values: TypedValues | readonly number[], shape: readonly number[], options: TensorOptions): Tensor {
    if (!isNumbers(values)) throw badValue('values', 'a list of numbers or a typed array', values)
    requireOptions(options)
    const { device, dtype = 'float32' } = options
    const handle = native.fromArray(device, dtype, shape, encode(values, dtype))
    return new Tensor(handle, device, dtype, shape, denseStrides(shape))
  }

  /** Whether elements are stored in row-major order without gaps. */
  get isDense(): boolean {
    return this.strides.join() === denseStrides(this.shape).join()
  }

  /** True for parameters and for tensors computed from them while gradients were on. */
  get requiresGrad(): boolean {
    return this.node !== null
  }

  /**
   * Number of changes of the memory, views included, by which caches made from it know whether they are current. `assign` and
   * `copyFrom` raise it.
   */
  get version(): number {
    return this.#changes.count
  }

  /** Raised by whoever changes values by the handle. */
  set version(count: number) {
    this.#changes.count = count
  }

  /** The addon's handle. */
  get native(): NativeTensor {
    return this.#native
  }

  /** Whether its last reference is gone: then every use throws. */
  get disposed(): boolean {
    return this.#references <= 0
  }

  /**
   * Whether one reference is left, so that no other code reads its values through it.
   *
   * @internal
   */
  get hasOneReference(): boolean {
    return this.#references === 1
  }

  /** The product of the dimensions. */
  get elements(): number {
    return elementsOf(this.shape)
  }

  /** Returns another view of the same memory: a constant, unless it is of a `Parameter`. `reshape` and `slice` have gradients. */
  view(shape: readonly number[], strides?: readonly number[], offset = 0): Tensor {
    requireWholes('shape', shape)
    if (strides !== undefined) requireWholes('strides', strides)
    requireWhole('offset', offset)
    const steps = strides ?? denseStrides(shape)
    return new Tensor(this.#native.view(shape, steps, offset), this.device, this.dtype, shape, steps, this)
  }

  /** Returns the memory of this dense tensor, from byte `offset` on, as a dense tensor of another dtype. */
  memoryAs(dtype: DType, shape: readonly number[], offset = 0): Tensor {
    const handle = this.#native.as(dtype, shape, offset)
    return new Tensor(handle, this.device, dtype, shape, denseStrides(shape), this)
  }

  /** Returns columns [from, to) of a matrix, as a view: a constant, unless it is of a `Parameter`. */
  columns(from: number, to: number): Tensor {
    requireWhole('from', from)
    requireWhole('to', to)
    return this.view([this.shape[0]!, to - from], this.strides, from)
  }

  /** Returns rows [from, to) along the first dimension, as a view: a constant, unless it is of a `Parameter`. */
  rows(from: number, to: number): Tensor {
    requireWhole('from', from)
    requireWhole('to', to)
    return this.view([to - from, ...this.shape.slice(1)], this.strides, from * this.strides[0]!)
  }

  /** Copies the values of a tensor of the same shape, converted to this dtype, in stream order. */
  copyFrom(source: Tensor): void {
    if (!(source instanceof Tensor)) throw badValue('source', 'a Tensor', source)
    native.copy(source.native, this.#native, 1)
    this.version++
  }

  /** Replaces the values of a float32, int32 or uint8 tensor, in stream order. */
  assign(values: Float32Array | Int32Array | Uint8Array): void {
    const loaded = native.fromArray(this.device, this.dtype, this.shape, values)
    native.copy(loaded, this.#native, 1)
    loaded.dispose()
    this.version++
  }

  /** Reads the values as the dtype's typed array (bfloat16 and float16 as bits); rejects with errors of the device. */
  bits(): Promise<TypedValues> {
    return this.#native.read()
  }

  /**
   * Reads the values' bytes into memory of exactly their length; rejects with errors of the device. The tensor must not change
   * until it resolves.
   */
  async bytesInto(memory: Uint8Array): Promise<Uint8Array> {
    // In pieces that fit caches: each passes through the addon's own memory.
    const piece = 2 ** 20
    if (this.elements <= piece || !this.isDense) return await this.#native.read(memory)
    const width = memory.length / this.elements
    for (let from = 0; from < this.elements; from += piece) {
      const to = Math.min(from + piece, this.elements)
      using part = keep(this.view([to - from], [1], from))
      await part.#native.read(memory.subarray(from * width, to * width))
    }
    return memory
  }

  /** Reads the values as float32, dense block formats included; integers stay integers. */
  async data(): Promise<Float32Array | Int32Array | BigInt64Array | Uint8Array> {
    if (isBlockDType(this.dtype)) return await readBlocks(this)
    const values = await this.#native.read()
    if (!(values instanceof Uint16Array)) return values
    return float32FromHalf(values, this.dtype as Exclude<FloatDType, 'float32'>)
  }

  /**
   * Copies float32 values from the CPU's memory without waiting for enqueued work, which must not write them; returns null for
   * other dtypes and devices.
   */
  dataAtOnce(): Float32Array | null {
    return this.#native.readAtOnce()
  }

  /** Reads the value of a tensor of one element. */
  async item(): Promise<number> {
    if (this.elements !== 1) {
      const came = `${this.dtype} [${this.shape.join(', ')}]`
      throw new UsageError(
        'unfit-shape',
        `Expected a tensor of one element for item but received ${came}; data reads all.`,
      )
    }
    return Number((await this.data())[0])
  }

  /**
   * Adds d(this)/d(parameter) to `.grad` of every parameter that this scalar was computed from, and frees what the
   * tape saved. Resolves when everything is enqueued.
   *
   * @param options.onGradient called with each of these parameters once everything that this pass adds to its gradient is
   * enqueued: work enqueued from then on may read the gradient and change it
   */
  async backward(options: { onGradient?: (parameter: object) => void } = {}): Promise<void> {
    check({ options }, backwardArguments)
    await backward<Tensor>(this, Tensor.empty, options.onGradient)
  }

  /** Adds a reference: the memory stays until one more `release`. */
  retain(): this {
    this.#references++
    return this
  }

  /** Drops a reference; the last one frees the memory, once enqueued work has used it, and the tape behind it. */
  release(): void {
    if (--this.#references !== 0) return
    this.#native.dispose()
    this.node?.release()
    this.recipe?.release()
  }

  /** Frees this tensor before the end of its scope. */
  dispose(): void {
    if (forget(this) || this.#references > 0) this.release()
  }

  /** Calls `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}

// Checks without a schema, since a step makes thousands of calls. The addon checks the rest.

function requireOptions(options: unknown): void {
  if (!isObject(options)) throw badValue('the options of a tensor', 'an object', options)
}

function requireWholes(name: string, values: unknown): void {
  if (!isListOfWholes(values)) throw badValue(name, 'a list of whole numbers', values)
}

function requireWhole(name: string, value: number): void {
  if (!(Number.isSafeInteger(value) && value >= 0)) throw badValue(name, 'a whole number of at least 0', value)
}

function isNumbers(value: unknown): boolean {
  if (Array.isArray(value)) return value.every((one) => typeof one === 'number')
  return ArrayBuffer.isView(value) && !(value instanceof DataView)
}

async function readBlocks({ native: blocks, device, shape }: Tensor): Promise<Float32Array> {
  const values = native.empty(device, 'float32', shape)
  try {
    native.dequantise(blocks, values)
    return (await values.read()) as Float32Array
  } finally {
    values.dispose()
  }
}

export function denseStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length)
  let stride = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride
    stride *= shape[i]!
  }
  return strides
}

/** Returns the transpose of a dense matrix, as a view of it. */
export function transposedView(matrix: Tensor): Tensor {
  const [rows, columns] = matrix.shape as [number, number]
  return matrix.view([columns, rows], [1, columns])
}

function encode(values: TypedValues | readonly number[], dtype: DType): ArrayBufferView {
  const floats = Array.isArray(values) || values instanceof Float32Array
  if (!floats) return values as TypedValues
  const numbers = values as ArrayLike<number>
  if (dtype === 'bfloat16' || dtype === 'float16') return halfFromFloat32(numbers, dtype)
  if (dtype === 'int32') return Int32Array.from(numbers)
  if (dtype === 'int64') return BigInt64Array.from(Array.from(numbers, BigInt))
  return values instanceof Float32Array ? values : Float32Array.from(numbers)
}
