import { type BlockDType, type FloatDType, isBlockDType, type NativeDevice, native } from '../native/addon.js'
import { Parameter } from './parameter.js'
import { Tensor } from './tensor.js'

/** Codes with scales, by the name that the reader of their checkpoints gives them: `nf4`, `gptq-4`, … */
export type CodeFormat = string

/** How a weight lies in memory. */
export type StorageFormat = FloatDType | BlockDType | CodeFormat

/**
 * What a linear layer multiplies with, and an embedding looks up in: [d, k], whatever it is made of. Only what writes weights
 * needs to know more, and asks for `floats`.
 */
export interface Weight extends Disposable {
  /** Where its memory is. */
  readonly device: NativeDevice
  /** [d, k]: outputs and inputs. */
  readonly shape: readonly number[]
  /** How its values are stored. */
  readonly storage: StorageFormat
  /** All that it is made of; the tape holds them for the backward pass. */
  readonly tensors: readonly Tensor[]
  /** The weight itself where it is one tensor of floats: it can be changed in place, and gradients may flow to it. */
  readonly floats: Tensor | null
  /** The same of a weight that is trained. */
  readonly parameter: Parameter | null
  /** Whether its memory was freed. */
  readonly disposed: boolean
  /** target [T, d] = scale · x [T, k] Wᵀ (+ target), in x's dtype with float32 accumulation. */
  multiply(x: Tensor, target: Tensor, scale: number, accumulate: boolean): void
  /** target [T, k] = scale · dY [T, d] W (+ target), in dY's dtype. */
  multiplyGradient(dY: Tensor, target: Tensor, scale: number, accumulate: boolean): void
  /** y [T, k] = rows `ids` [T] (int32), in y's dtype. */
  lookUp(ids: Tensor, y: Tensor): void
  /** What many products of that dtype, in both directions, read with the least work: itself, or its values, of the running scope. */
  unpacked(dtype: FloatDType): Weight
  /** Its values in a tensor of the caller's. */
  values(dtype: FloatDType): Tensor
  /** Its values on the host, row by row. */
  data(): Promise<Float32Array>
  /** Rows [from, to), in the same memory; not on the tape. */
  rows(from: number, to: number): Weight
  /** Frees all tensors that it is made of. */
  dispose(): void
}

/** A weight that is one tensor. */
abstract class OneTensor {
  readonly tensors: readonly Tensor[]

  /** As a product of that dtype needs it. */
  protected abstract operand(dtype: FloatDType): Tensor

  constructor(readonly tensor: Tensor) {
    this.tensors = [tensor]
  }

  get device(): NativeDevice {
    return this.tensor.device
  }

  get shape(): readonly number[] {
    return this.tensor.shape
  }

  get storage(): StorageFormat {
    return this.tensor.dtype as StorageFormat
  }

  get disposed(): boolean {
    return this.tensor.disposed
  }

  multiply(x: Tensor, target: Tensor, scale: number, accumulate: boolean): void {
    const operand = this.operand(x.dtype as FloatDType)
    native.matmul({ a: x.native, b: operand.native, transposeB: true, c: target.native, alpha: scale, accumulate })
  }

  multiplyGradient(dY: Tensor, target: Tensor, scale: number, accumulate: boolean): void {
    const operand = this.operand(dY.dtype as FloatDType)
    native.matmul({ a: dY.native, b: operand.native, c: target.native, alpha: scale, accumulate })
  }

  lookUp(ids: Tensor, y: Tensor): void {
    native.embedding(this.tensor.native, ids.native, y.native)
  }

  values(dtype: FloatDType): Tensor {
    const values = Tensor.empty(this.shape, { device: this.device, dtype })
    native.dequantise(this.tensor.native, values.native)
    return values
  }

  async data(): Promise<Float32Array> {
    return (await this.tensor.data()) as Float32Array
  }

  rows(from: number, to: number): Weight {
    return weightOf(this.tensor.rows(from, to))
  }

  dispose(): void {
    this.tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/** Floats, frozen or trained. */
class PlainWeight extends OneTensor implements Weight {
  get floats(): Tensor {
    return this.tensor
  }

  get parameter(): Parameter | null {
    return this.tensor instanceof Parameter ? this.tensor : null
  }

  unpacked(dtype: FloatDType): Weight {
    return new PlainWeight(this.operand(dtype))
  }

  /**
   * As a product of that dtype needs it: itself, a parameter's cast, or converted. Products read a float32 weight that is no
   * parameter as it is, since W + ΔW would lose small updates.
   */
  protected operand(dtype: FloatDType): Tensor {
    const { tensor } = this
    if (tensor.dtype === dtype) return tensor
    if (tensor instanceof Parameter) return tensor.as(dtype)
    return tensor.dtype === 'float32' ? tensor : this.values(dtype)
  }
}

/** A block format of GGUF, frozen. Products make its values in panels, or multiply with blocks as they are. */
class BlockWeight extends OneTensor implements Weight {
  readonly floats = null
  readonly parameter = null

  unpacked(dtype: FloatDType): Weight {
    return new PlainWeight(this.values(dtype))
  }

  protected operand(): Tensor {
    return this.tensor
  }
}

/** The weight that a tensor is: floats, or blocks of GGUF. */
export function weightOf(tensor: Tensor): Weight {
  return isBlockDType(tensor.dtype) ? new BlockWeight(tensor) : new PlainWeight(tensor)
}

/** A weight's values in floats: themselves, or unpacked in float32 for the running scope. */
export function floatsOf(weight: Weight): Tensor {
  return weight.floats ?? weight.values('float32')
}

/** A weight as it is stored, or the first tensor of one that is made of several. */
export function firstTensor({ floats, tensors }: Weight): Tensor {
  return floats ?? tensors[0]!
}
