import { RunError } from '../common/errors.js'
import type { Tensor } from '../tensor/tensor.js'

/** Returns the values of a float32 tensor; throws a `RunError` that names the tensor if one is not finite. */
export async function finiteValues(name: string, tensor: Tensor): Promise<Float32Array> {
  const values = (await tensor.data()) as Float32Array
  if (!allFinite(values)) {
    throw new RunError('non-finite', `${name} holds a value that is not finite, so nothing of this step was saved.`)
  }
  return values
}

/** Returns the name of the first tensor with a value that is not finite; null if all are finite. */
export async function firstNonFinite(tensors: readonly { name: string; tensor: Tensor }[]): Promise<string | null> {
  for (const { name, tensor } of tensors) {
    if (!allFinite(await tensor.data())) return name
  }
  return null
}

export function allFinite(values: ArrayLike<number> | ArrayLike<bigint>): boolean {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(Number(values[i]))) return false
  }
  return true
}
