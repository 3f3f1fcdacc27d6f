import { z } from 'zod'
import { anyText, check, expecting } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { type DType, native } from '../native/addon.js'
import { writeByAdding } from './gradient-writes.js'
import { keep } from './scope.js'
import { isRecording, record, TapeNode } from './tape.js'
import { type Float32Tensor, Tensor } from './tensor.js'

const parameterArguments = { name: anyText, values: expecting('a Tensor', z.instanceof(Tensor)) }

/**
 * A trained tensor: float32, with a float32 gradient that accumulates over backward passes. It lives until `dispose`, outside
 * every scope.
 */
export class Parameter extends Tensor implements Float32Tensor {
  /** The sum of gradients so far, in the values' shape; null if no backward pass has reached the parameter since `zeroGrad`. */
  declare grad: Float32Tensor | null
  /** Optimizers multiply the learning rate by this. */
  learningRateRatio = 1
  /** Whether optimizers apply weight decay. */
  decays = true
  #casts = new Map<string, { version: number; value: Tensor }>()

  /** Takes over the memory of a float32 tensor. */
  constructor(
    /** Name in checkpoints and optimizer state. */
    readonly name: string,
    values: Tensor,
  ) {
    check({ name, values }, parameterArguments)
    super(values.native, values.device, 'float32', values.shape, values.strides, values)
    keep(this)
    keep(values)
    this.node = new TapeNode<Tensor>([], [], null, this, this)
  }

  /** Returns a tensor computed from the current values, cached until they change. The parameter owns it. */
  derived(key: string, make: () => Tensor): Tensor {
    const known = this.#casts.get(key)
    if (known && known.version === this.version) return known.value
    known?.value.release()
    const value = keep(make())
    this.#casts.set(key, { version: this.version, value })
    return value
  }

  /** Returns the values in another dtype, scaled; converted once per change. */
  as(dtype: DType, scale = 1): Tensor {
    if (dtype === 'float32' && scale === 1) return this
    return this.derived(`${dtype} ${scale}`, () => {
      const copy = Tensor.empty(this.shape, { device: this.device, dtype })
      native.copy(this.native, copy.native, scale)
      return copy
    })
  }

  /** Reads the values. */
  override async data(): Promise<Float32Array> {
    return (await super.data()) as Float32Array
  }

  /** Returns another view of the same memory. Its gradients reach the parameter, also the gradients of repeated elements. */
  override view(shape: readonly number[], strides?: readonly number[], offset = 0): Tensor {
    const records = isRecording() && this.requiresGrad
    if (records && !this.isDense) {
      const from = `strides [${this.strides.join(', ')}] and shape [${this.shape.join(', ')}]`
      throw new UsageError(
        'unfit-shape',
        `Expected a dense parameter for a view with gradients, but ${this.name} has ${from}.`,
      )
    }
    const y = super.view(shape, strides, offset)
    if (!records) return y
    return record<Tensor>(y, [this], [], (dY, _, [dThis]) =>
      writeByAdding(dThis!, (gradient) => {
        if (!repeats(y)) native.add(dY.native, gradient.view(shape, y.strides, offset).native, 1)
        else addAt(placesOf(y, offset), dY, gradient)
      }),
    )
  }

  /** Stops gradients from here on. The values, and what is derived from them, stay. */
  freeze(): this {
    this.node = null
    this.zeroGrad()
    return this
  }

  /** Returns the gradient, zeros if no backward pass has reached the parameter since `zeroGrad`. */
  ensureGrad(): Float32Tensor {
    this.grad ??= keep(Tensor.zeros(this.shape, { device: this.device }))
    return this.grad
  }

  /** Drops the gradient: the next backward pass starts a new sum. */
  zeroGrad(): void {
    this.grad?.release()
    this.grad = null
  }

  override release(): void {
    super.release()
    if (!this.disposed) return
    this.zeroGrad()
    for (const { value } of this.#casts.values()) value.release()
    this.#casts.clear()
  }
}

type Layout = Pick<Tensor, 'shape' | 'strides'>

/** Whether a view may have an element twice: in the order of strides, each has to be past all elements before it. */
function repeats({ shape, strides }: Layout): boolean {
  let last = 0
  const axes = shape.map((size, axis) => ({ size, stride: strides[axis]! })).filter(({ size }) => size > 1)
  for (const { size, stride } of axes.sort((a, b) => a.stride - b.stride)) {
    if (stride <= last) return true
    last += (size - 1) * stride
  }
  return false
}

/** Returns where each element of a view is in the memory that it is a view of, in the view's row-major order. */
function placesOf({ shape, strides }: Layout, offset: number): Int32Array {
  let places = [offset]
  for (const [axis, size] of shape.entries()) {
    const steps = Array.from({ length: size }, (_, i) => i * strides[axis]!)
    places = places.flatMap((place) => steps.map((step) => place + step))
  }
  return Int32Array.from(places)
}

/** Adds float32 values to the elements of a dense tensor at some places; the values of one place are summed in order. */
function addAt(places: Int32Array, values: Tensor, target: Tensor): void {
  const at = Tensor.from(places, [places.length], { device: target.device, dtype: 'int32' })
  const dense = Tensor.empty(values.shape, values)
  dense.copyFrom(values)
  const column = (tensor: Tensor) => tensor.view([tensor.elements, 1]).native
  native.embeddingBackward(column(dense), at.native, column(target))
}
