import { z } from 'zod'
import { anyText, check, expecting } from '../common/arguments.js'
import { type DType, native } from '../native/addon.js'
import { keep } from './scope.js'
import { TapeNode } from './tape.js'
import { Tensor } from './tensor.js'

const parameterArguments = { name: anyText, values: expecting('a Tensor', z.instanceof(Tensor)) }

/**
 * A trained tensor: float32, with a float32 gradient that accumulates over backward passes. It lives until `dispose`, outside
 * every scope.
 */
export class Parameter extends Tensor {
  /** Number of changes of the values, by which caches made from them know whether they are current. */
  version = 0
  /** Optimizers multiply the learning rate by this. */
  learningRateRatio = 1
  #casts = new Map<string, { version: number; value: Tensor }>()

  /** Takes over the memory of a float32 tensor. */
  constructor(
    /** Its name in checkpoints and optimizer state. */
    readonly name: string,
    values: Tensor,
  ) {
    check({ name, values }, parameterArguments)
    super(values.native, values.device, 'float32', values.shape, values.strides)
    keep(this)
    keep(values)
    this.node = new TapeNode([], [], null, this, this)
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

  /** Like `derived` without the cache: the running scope owns the result, and any cached one is freed. */
  derivedOnce(key: string, make: () => Tensor): Tensor {
    this.#casts.get(key)?.value.release()
    this.#casts.delete(key)
    return make()
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

  /** Replaces the values. */
  override assign(values: Float32Array): void {
    super.assign(values)
    this.version++
  }

  /** Stops gradients from here on. The values, and what is derived from them, stay. */
  freeze(): this {
    this.node = null
    this.zeroGrad()
    return this
  }

  /** Returns the gradient, zeros if no backward pass has reached the parameter since `zeroGrad`. */
  ensureGrad(): Tensor {
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
