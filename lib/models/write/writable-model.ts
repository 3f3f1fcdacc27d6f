/** Weights on their way to a file: filled in float32, then rounded once, or as they are in the file that they come from. */

import { RunError } from '../../common/errors.js'
import type { Tokenizer } from '../../data/tokenizer/tokenizer.js'
import { type FloatDType, type NativeDevice, native } from '../../native/addon.js'
import { keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { ModelConfig } from '../network/model-config.js'
import type { ModelSource } from '../read/model-source.js'

/** The parts of a model that go into a file or folder. */
export interface WritableModel {
  readonly config: ModelConfig
  readonly tokenizer: Tokenizer | null
  /** Where it came from; null for a model that was made from random numbers. */
  readonly source: ModelSource | null
  readonly device: NativeDevice
  /** Writes a weight into `values`, float32 and of the weight's shape. */
  fill(name: string, values: Tensor): void
  /** Whether `fill` writes what the source has: the weight may then be copied as its file stores it. Absent: none is. */
  isUnchanged?(name: string): boolean
}

/** The dtype of every weight, unless it is asked for another: the source's dtype, bfloat16 where that is quantised. */
export function defaultDType({ source }: WritableModel): FloatDType {
  const stored = source?.storedDType() ?? 'float32'
  return stored === 'float32' || stored === 'float16' || stored === 'bfloat16' ? stored : 'bfloat16'
}

/** A weight in float32; the caller's to dispose. */
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

/** Memory that one weight after the other passes through: fresh memory for each would make V8 collect its heap for it. */
export class HostBuffer {
  #bytes = new Uint8Array(0)

  /** So many bytes; what was there before is lost. */
  of(length: number): Uint8Array {
    if (this.#bytes.length < length) this.#bytes = new Uint8Array(length)
    return this.#bytes.subarray(0, length)
  }
}

/** Where a model's tensors go, one after the other. */
export interface Writing {
  /** The folder or file. */
  readonly output: string
  readonly memory: HostBuffer
}

/**
 * The bytes of a tensor, rounded to a dtype unless it has that, in `memory`. Disposes the tensor as soon as it can.
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

/** A dense copy in a dtype; disposes the tensor. */
function roundedCopy(values: Tensor, dtype: FloatDType): Tensor {
  const rounded = keep(Tensor.empty(values.shape, { device: values.device, dtype }))
  rounded.copyFrom(values)
  values.dispose()
  return rounded
}
