import { native } from '../../native.js'
import type { Parameter } from '../parameter.js'
import { keep } from '../scope.js'
import { recomputable, record } from '../tape.js'
import { Tensor } from '../tensor.js'

/**
 * y = x / sqrt(mean(x²) + epsilon) · weight over rows of x [T, D]; weight [D] float32. The tape keeps x and one number a
 * row, not y: whoever saves y gets it made again.
 */
export function rmsNorm(x: Tensor, weight: Tensor, epsilon: number): Tensor {
  const y = Tensor.empty(x.shape, x)
  const rstd = Tensor.empty([x.shape[0]!], { device: x.device })
  native.rmsNorm(x.native, null, weight.native, epsilon, y.native, rstd.native)
  record(y, [x, weight], [x, weight, rstd], (dY, [input, w, r], [dX, dWeight]) => {
    const weightGradient = dWeight!.needed ? parameterGradient(w as Parameter) : null
    dX!.write((target, add) => {
      native.rmsNormBackward(
        dY.native,
        input!.native,
        w!.native,
        r!.native,
        target.native,
        add,
        weightGradient?.native ?? null,
      )
    })
    if (weightGradient && !dX!.needed) {
      const unused = Tensor.empty(input!.shape, input!)
      native.rmsNormBackward(
        dY.native,
        input!.native,
        w!.native,
        r!.native,
        unused.native,
        false,
        weightGradient.native,
      )
    }
  })
  return recomputable(y, [x, weight, rstd], () => {
    const again = Tensor.empty(x.shape, x)
    native.rmsNormApply(x.native, weight.native, rstd.native, again.native)
    return again
  })
}

/** The kernel adds to a weight's gradient, so it starts as zeros. */
function parameterGradient(weight: Parameter): Tensor {
  weight.grad ??= keep(Tensor.zeros(weight.shape, { device: weight.device }))
  return weight.grad
}

/** residual + x, into x's memory: x must be the result of the operation before and used by nobody else. */
export function addResidual(x: Tensor, residual: Tensor): Tensor {
  native.add(residual.native, x.native, 1)
  const sum = x.view(x.shape, x.strides)
  return record(sum, [x, residual], [], (gradient, _, targets) => {
    for (const target of targets) if (target.needed) target.pass(gradient)
  })
}
