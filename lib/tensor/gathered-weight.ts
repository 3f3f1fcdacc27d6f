import type { FloatDType, NativeDevice } from '../native/addon.js'
import type { Tensor } from './tensor.js'
import type { StorageFormat, Weight } from './weight.js'

/**
 * A frozen weight, stored in parts by the ranks. Every read first calls `bring`, which gathers it in stream order into
 * memory that other weights use as well. It cannot be changed.
 */
export class GatheredWeight implements Weight {
  readonly #weight: Weight
  readonly #bring: () => void

  readonly parameter = null

  /** @param weight the weight in that memory, valid once `bring` has returned */
  constructor(weight: Weight, bring: () => void) {
    this.#weight = weight
    this.#bring = bring
  }

  get device(): NativeDevice {
    return this.#weight.device
  }

  get shape(): readonly number[] {
    return this.#weight.shape
  }

  get storage(): StorageFormat {
    return this.#weight.storage
  }

  get tensors(): readonly Tensor[] {
    return this.#weight.tensors
  }

  /** Gathered for operations that are enqueued next. */
  get floats(): Tensor | null {
    return this.#there().floats
  }

  get disposed(): boolean {
    return this.#weight.disposed
  }

  multiply(x: Tensor, target: Tensor, scale: number, accumulate: boolean): void {
    this.#there().multiply(x, target, scale, accumulate)
  }

  multiplyGradient(dY: Tensor, target: Tensor, scale: number, accumulate: boolean): void {
    this.#there().multiplyGradient(dY, target, scale, accumulate)
  }

  lookUp(ids: Tensor, y: Tensor): void {
    this.#there().lookUp(ids, y)
  }

  unpacked(dtype: FloatDType): Weight {
    const unpacked = this.#there().unpacked(dtype)
    return unpacked.tensors[0] === this.#weight.tensors[0] ? this : unpacked
  }

  values(dtype: FloatDType): Tensor {
    return this.#there().values(dtype)
  }

  data(): Promise<Float32Array> {
    return this.#there().data()
  }

  rows(from: number, to: number): Weight {
    return new GatheredWeight(this.#weight.rows(from, to), this.#bring)
  }

  dispose(): void {
    this.#weight.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  #there(): Weight {
    this.#bring()
    return this.#weight
  }
}
