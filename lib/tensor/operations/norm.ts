import { native } from '../../native/addon.js'
import { addingTo, writeOrDrop } from '../gradient-writes.js'
import { recomputable, record } from '../tape.js'
import { Tensor } from '../tensor.js'

/**
 * y = x / sqrt(mean(x²) + epsilon) · (weightOffset + weight) over rows of x [T, D] or of every head of [T, heads, D]; weight
 * [D] float32. Gemma's norms have a weightOffset of 1. The tape keeps x and one number a row; y is computed again for nodes
 * that saved it.
 */
export function rmsNorm(x: Tensor, weight: Tensor, epsilon: number, weightOffset = 0): Tensor {
  const y = Tensor.empty(x.shape, x)
  const rstd = Tensor.empty(x.shape.slice(0, -1), { device: x.device })
  native.rmsNorm({ x: x.native, weight: weight.native, weightOffset, epsilon, y: y.native, rstd: rstd.native })
  record(y, [x, weight], [x, weight, rstd], (dY, [input, w, r], [dX, dWeight]) => {
    const weightGradient = addingTo(dWeight!)
    writeOrDrop(dX!, input!, (target, add) => {
      const [g, xn, wn, rn] = [dY.native, input!.native, w!.native, r!.native]
      native.rmsNormBackward({
        dY: g,
        x: xn,
        weight: wn,
        weightOffset,
        rstd: rn,
        dX: target.native,
        accumulate: add,
        dWeight: weightGradient,
      })
    })
  })
  return recomputable(y, [x, weight, rstd], () => {
    const again = Tensor.empty(x.shape, x)
    native.rmsNormApply(x.native, weight.native, weightOffset, rstd.native, again.native)
    return again
  })
}

/**
 * y = (x - mean) / sqrt(variance + epsilon) · weight + bias over rows of x [T, D] (arXiv 1607.06450); weight and bias [D]
 * float32, bias may be null. The tape keeps x and two numbers a row; y is computed again for nodes that saved it.
 */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor | null, epsilon: number): Tensor {
  const y = Tensor.empty(x.shape, x)
  const [mean, rstd] = [0, 1].map(() => Tensor.empty([x.shape[0]!], { device: x.device })) as [Tensor, Tensor]
  const shift = bias?.native ?? null
  native.layerNorm({
    x: x.native,
    weight: weight.native,
    bias: shift,
    epsilon,
    y: y.native,
    mean: mean.native,
    rstd: rstd.native,
  })
  const affine = bias ? [weight, bias] : [weight]
  record(y, [x, ...affine], [x, weight, mean, rstd], (dY, [input, w, m, r], [dX, dWeight, dBias]) => {
    const [weightGradient, biasGradient] = [addingTo(dWeight!), dBias ? addingTo(dBias) : null]
    writeOrDrop(dX!, input!, (target, add) => {
      const [g, xn, wn, mn, rn] = [dY.native, input!.native, w!.native, m!.native, r!.native]
      native.layerNormBackward({
        dY: g,
        x: xn,
        weight: wn,
        mean: mn,
        rstd: rn,
        dX: target.native,
        accumulate: add,
        dWeight: weightGradient,
        dBias: biasGradient,
      })
    })
  })
  return recomputable(y, [x, ...affine, mean, rstd], () => {
    const again = Tensor.empty(x.shape, x)
    native.layerNormApply({
      x: x.native,
      weight: weight.native,
      bias: shift,
      mean: mean.native,
      rstd: rstd.native,
      y: again.native,
    })
    return again
  })
}

/** residual + x, in x's memory: x must be the result of the operation before, with no other use. */
export function addResidual(x: Tensor, residual: Tensor): Tensor {
  native.add(residual.native, x.native, 1)
  if (!x.requiresGrad && !residual.requiresGrad) return x
  const sum = x.view(x.shape, x.strides)
  return record(sum, [x, residual], [], (gradient, _, targets) => {
    for (const target of targets) if (target.needed) target.pass(gradient)
  })
}
