import { native } from '../../native.js'
import { writeByAdding } from '../gradient-writes.js'
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
    let weightGradient: Tensor | null = null
    writeByAdding(dWeight!, (gradient) => {
      weightGradient = gradient
    })
    const both = (target: Tensor, add: boolean) => {
      const [g, xn, wn, rn] = [dY.native, input!.native, w!.native, r!.native]
      native.rmsNormBackward(g, xn, wn, rn, target.native, add, weightGradient?.native ?? null)
    }
    if (dX!.needed) dX!.write(both)
    else both(Tensor.empty(input!.shape, input!), false)
  })
  return recomputable(y, [x, weight, rstd], () => {
    const again = Tensor.empty(x.shape, x)
    native.rmsNormApply(x.native, weight.native, rstd.native, again.native)
    return again
  })
}

/** residual + x, into x's memory: x must be the result of the operation before and used by nobody else. */
export function addResidual(x: Tensor, residual: Tensor): Tensor {
  native.add(residual.native, x.native, 1)
  const sum = x.view(x.shape, x.strides)
  return record(sum, [x, residual], [], (gradient, _, targets) => {
    for (const target of targets) if (target.needed) target.pass(gradient)
  })
}
