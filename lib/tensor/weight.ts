import { type BlockDType, type FloatDType, isBlockDType, type NativeDevice, native } from '../native/addon.js'
import { Parameter } from './parameter.js'
import { Tensor } from './tensor.js'

/** A format of codes with scales, named by the reader of its checkpoints: `nf4`, `gptq-4`, … */
export type CodeFormat = string

/** Storage of a weight in memory. */
export type StorageFormat = FloatDType | BlockDType | CodeFormat

/**
 * The weight [d, k] of a linear layer or an embedding, in any storage format. Only code that changes weights needs to know
 * more, from `floats`.
 */
export interface Weight extends Disposable {
  /** The device of its memory. */
  readonly device: NativeDevice
  /** [d, k]: outputs and inputs. */
  readonly shape: readonly number[]
  /** Storage of its values. */
  readonly storage: StorageFormat
  /** All tensors that it is made of; the tape keeps them for the backward pass. */
  readonly tensors: readonly Tensor[]
  /** The weight itself if it is one tensor of floats, which can be changed in place and receive gradients; else null. */
  readonly floats: Tensor | null
  /** The weight itself if it is trained; else null. */
  readonly parameter: Parameter | null
  /** Whether its memory was freed. */
  readonly disposed: boolean
  /** target [T, d] = scale · x [T, k] Wᵀ (+ target), in x's dtype with float32 accumulation. */
  multiply(x: Tensor, target: Tensor, scale: number, accumulate: boolean): void
  /** target [T, k] = scale · dY [T, d] W (+ target), in dY's dtype. */
  multiplyGradient(dY: Tensor, target: Tensor, scale: number, accumulate: boolean): void
  /** y [T, k] = rows `ids` [T] (int32), in y's dtype. */
  lookUp(ids: Tensor, y: Tensor): void
  /** Returns the form that many products of that dtype, in both directions, read fastest: itself, or values that the scope owns. */
  unpacked(dtype: FloatDType): Weight
  /** Returns its values in a new tensor. */
  values(dtype: FloatDType): Tensor
  /** Reads its values, row-major. */
  data(): Promise<Float32Array>
  /** Returns rows [from, to), in the same memory; not on the tape. */
  rows(from: number, to: number): Weight
  /** Frees all tensors that it is made of. */
  dispose(): void
}

/** A weight that is one tensor. */
abstract class OneTensor {
  readonly tensors: readonly Tensor[]

  /** The tensor that a product of that dtype reads. */
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

/** A weight of floats, frozen or trained. */
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
   * The tensor that a product of that dtype reads: the weight itself, a parameter's cached cast, or a conversion. A float32
   * weight that is not a parameter stays float32, since W + ΔW would lose small updates in 16 bits.
   */
  protected operand(dtype: FloatDType): Tensor {
    const { tensor } = this
    if (tensor.dtype === dtype) return tensor
    if (tensor instanceof Parameter) return tensor.as(dtype)
    return tensor.dtype === 'float32' ? tensor : this.values(dtype)
  }
}

/** A frozen weight in a block format of GGUF. Products dequantise it in panels, or multiply with the blocks directly. */
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

/** Wraps a tensor of floats or of GGUF blocks as a weight. */
export function weightOf(tensor: Tensor): Weight {
  return isBlockDType(tensor.dtype) ? new BlockWeight(tensor) : new PlainWeight(tensor)
}

/** Returns a weight's floats, or its values unpacked to float32, which the running scope owns. */
export function floatsOf(weight: Weight): Tensor {
  return weight.floats ?? weight.values('float32')
}

/** Returns a weight's stored tensor, or its first one if there are several. */
export function firstTensor({ floats, tensors }: Weight): Tensor {
  return floats ?? tensors[0]!
}
