/** Prepares weights for writing: filled in float32, then rounded once, or copied from the source's file. */

import { RunError } from '../../common/errors.js'
import { type FloatDType, type NativeDevice, native } from '../../native/addon.js'
import type { Pooling } from '../../nn/pooling.js'
import { keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { Tokenizer } from '../../text/tokenizer.js'
import type { ModelConfig } from '../network/model-config.js'
import type { ModelSource } from '../read/model-source.js'

/** The parts of a model that go into a file or folder. */
export interface WritableModel {
  readonly config: ModelConfig
  readonly tokenizer: Tokenizer | null
  /** Source; null for a model with random weights. */
  readonly source: ModelSource | null
  readonly device: NativeDevice
  /** Pooling of states to embeddings, for sentence-transformers; null or absent if it is unknown. */
  readonly pooling?: Pooling | null
  /** Writes a weight into `values`, float32 with the weight's shape. */
  fill(name: string, values: Tensor): void
  /** Whether `fill` writes the source's values, so that the weight may be copied as its file stores it. Absent: none is. */
  isUnchanged?(name: string): boolean
}

/** The default dtype of weights: the source's, or bfloat16 if that is quantised. */
export function defaultDType({ source }: WritableModel): FloatDType {
  return floatOr(source?.storedDType() ?? 'float32', 'bfloat16')
}

/** Returns the default dtype of one weight in a folder: that of its floats in the source, where that is a folder too. */
export function defaultDTypeOf(model: WritableModel, name: string): FloatDType {
  const { source } = model
  const usual = defaultDType(model)
  return source?.format === 'folder' ? floatOr(source.weights.get(name)?.dtype ?? 'float32', usual) : usual
}

const floatOr = (dtype: string, other: FloatDType): FloatDType =>
  dtype === 'float32' || dtype === 'float16' || dtype === 'bfloat16' ? dtype : other

/** Returns a weight in float32; the caller disposes it. */
export function filledWeight(model: WritableModel, name: string, shape: readonly number[]): Tensor {
  const values = keep(Tensor.empty(shape, { device: model.device }))
  try {
    model.fill(name, values)
    return values
  } catch (error) {
    values.dispose()
    throw error
  }
}

/** Memory that is reused for one weight after the other: fresh memory for each would trigger V8's garbage collection. */
export class HostBuffer {
  #bytes = new Uint8Array(0)

  /** Returns `length` bytes; previous contents are lost. */
  of(length: number): Uint8Array {
    if (this.#bytes.length < length) this.#bytes = new Uint8Array(length)
    return this.#bytes.subarray(0, length)
  }
}

/** The destination of a model's tensors, one after the other. */
export interface Writing {
  /** The folder or file. */
  readonly output: string
  readonly memory: HostBuffer
}

/**
 * Returns the bytes of a tensor in `memory`, rounded to a dtype unless it has that. Disposes the tensor early.
 * @throws RunError `non-finite`
 */
export async function roundedBytes(
  values: Tensor,
  dtype: FloatDType,
  name: string,
  { output, memory }: Writing,
): Promise<Uint8Array> {
  const { device } = values
  using rounded = values.dtype === dtype && values.isDense ? values : roundedCopy(values, dtype)
  using nonFinite = keep(Tensor.zeros([1], { device, dtype: 'int32' }))
  native.countNonFinite(rounded.native, nonFinite.native, false)
  const room = memory.of(rounded.elements * (dtype === 'float32' ? 4 : 2))
  const [bad, bytes] = await Promise.all([nonFinite.item(), rounded.bytesInto(room)])
  if (bad > 0) {
    throw new RunError('non-finite', `${bad} values of ${name} are not finite in ${dtype}; ${output} is not written.`)
  }
  return bytes
}

/** Returns a dense copy in a dtype; disposes the tensor. */
function roundedCopy(values: Tensor, dtype: FloatDType): Tensor {
  const rounded = keep(Tensor.empty(values.shape, { device: values.device, dtype }))
  rounded.copyFrom(values)
  values.dispose()
  return rounded
}
