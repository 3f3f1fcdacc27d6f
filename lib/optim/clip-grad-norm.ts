import { atLeast, check } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { native } from '../native/addon.js'
import type { Parameter } from '../tensor/parameter.js'
import { scope } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import { someParameters } from './adamw.js'

const clipGradNormArguments = { parameters: someParameters, maxNorm: atLeast(0) }

/**
 * Scales the gradients in place so that their global norm is at most `maxNorm`, like PyTorch's `clip_grad_norm_`. Returns
 * the norm [1] before clipping, on the device. Not needed with `AdamW.step`, which clips if `maxGradNorm` is given. Throws a
 * UsageError without parameters.
 */
export function clipGradNorm(parameters: readonly Parameter[], maxNorm: number): Tensor {
  check({ parameters, maxNorm }, clipGradNormArguments)
  const [first] = parameters
  if (!first) throw new UsageError('unfit-options', 'clipGradNorm expected at least one parameter but received none.')
  return scope(() => {
    const { device } = first
    const gradients = parameters.flatMap(({ grad }) => (grad ? [grad] : []))
    const norm = Tensor.zeros([1], { device })
    const scale = Tensor.empty([1], { device })
    native.globalNorm(
      gradients.map((gradient) => gradient.native),
      norm.native,
    )
    native.clipScale(norm.native, 1, maxNorm, scale.native)
    for (const gradient of gradients) {
      const column = gradient.view([gradient.elements, 1])
      const scaled = Tensor.empty(column.shape, { device })
      native.matmul({ a: column.native, b: scale.view([1, 1]).native, c: scaled.native })
      native.copy(scaled.native, column.native, 1)
    }
    return norm
  })
}
