/** Sums, means and softmax, with gradients. */
import { badValue } from '../../common/arguments.js'
import { elementsOf, native } from '../../native/addon.js'
import { writeMultiple } from '../gradient-writes.js'
import { scope } from '../scope.js'
import { record } from '../tape.js'
import { denseStrides, Tensor } from '../tensor.js'
import { add, mul, relu, sqrt, square, sub } from './arithmetic.js'
import { asRows, dense, requireFloats, rowSums, unfit, wholeSum } from './shaped.js'

function requireAxis(axis: unknown): void {
  if (axis !== undefined && axis !== -1) throw badValue('axis', '-1 (the last axis) or nothing', axis)
}

/** Returns the sum of all elements of x, [1] float32; with axis -1, over the last axis of x [..., C]: [...] float32. */
export function sum(x: Tensor, axis?: -1): Tensor {
  requireFloats('x', x)
  requireAxis(axis)
  return scope(() => {
    if (axis === undefined || x.shape.length < 2) {
      const standing = x.shape.map(() => 0)
      return record(wholeSum(x), [x], [], (dY, _, [dX]) => writeMultiple(dX!, 1, dY.view(x.shape, standing)))
    }
    const shape = x.shape.slice(0, -1)
    const strides = [...denseStrides(shape), 0]
    const sums = rowSums(x, elementsOf(shape)).view(shape)
    return record(sums, [x], [], (dY, _, [dX]) => writeMultiple(dX!, 1, dense(dY).view(x.shape, strides)))
  })
}

/** Returns the mean of all elements of x, [1] float32; with axis -1, over the last axis of x [..., C]: [...] float32. */
export function mean(x: Tensor, axis?: -1): Tensor {
  requireFloats('x', x)
  if (x.elements === 0) throw unfit('at least one element for x', x)
  return scope(() => {
    const total = sum(x, axis)
    return mul(total, total.elements / x.elements)
  })
}

/** √Σ x² over the last axis of x [..., C]: [...]. Norms below `least` become `least`, without a gradient. */
export function norms(x: Tensor, least = 0): Tensor {
  const limit = Math.fround(least) ** 2
  return scope(() => sqrt(add(relu(sub(sum(square(x), -1), limit)), limit)))
}

/** Returns e^x / Σ e^x over the last axis of x [..., C], in its dtype. */
export function softmax(x: Tensor): Tensor {
  return softmaxOf(x, false)
}

/** Returns ln(softmax(x)) without underflow: x - ln Σ e^x over the last axis. */
export function logSoftmax(x: Tensor): Tensor {
  return softmaxOf(x, true)
}

function softmaxOf(x: Tensor, logarithm: boolean): Tensor {
  requireFloats('x', x)
  return scope(() => {
    const input = dense(x)
    const sizes = asRows(input)
    const rowsOf = (tensor: Tensor) => tensor.view(sizes).native
    const y = Tensor.empty(input.shape, input)
    native.softmaxRows(rowsOf(input), logarithm, rowsOf(y))
    return record(y, [input], [y.view(y.shape)], (dY, [result], [dX]) => {
      const [gradient, softmax] = [rowsOf(dense(dY)), rowsOf(result!)]
      dX!.write((target, accumulate) =>
        native.softmaxRowsBackward({ dY: gradient, y: softmax, logarithm, dX: rowsOf(target), accumulate }),
      )
    })
  })
}
