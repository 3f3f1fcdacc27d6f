/** Sums, means and softmax, with gradients. */
import { badValue } from '../../common/arguments.js'
import { native } from '../../native/addon.js'
import { writeMultiple } from '../gradient-writes.js'
import { scope } from '../scope.js'
import { noGrad, record } from '../tape.js'
import { denseStrides, Tensor } from '../tensor.js'
import { add, cast, mul, relu, sqrt, square, sub } from './arithmetic.js'
import { scaleRows } from './factors.js'
import { inOrder, permuted, reshape } from './reshaping.js'
import { asRows, axisOf, columnSums, dense, requireFloats, rowSums, unfit, wholeSum } from './shaped.js'

/**
 * Returns the sum of x over some axes, in float32: by default over all, [1]. With `keepDims`, these axes stay, of size 1. -1 is
 * the last axis.
 */
export function sum(x: Tensor, axes?: number | readonly number[], keepDims = false): Tensor {
  requireFloats('x', x)
  if (typeof keepDims !== 'boolean') throw badValue('keepDims', 'true or false', keepDims)
  const isSummed = summedAxes(x, axes)
  const kept = [...x.shape.keys()].filter((axis) => !isSummed[axis])
  const sizes = kept.map((axis) => x.shape[axis]!)
  const strides = x.shape.map(() => 0)
  for (const [i, stride] of denseStrides(sizes).entries()) strides[kept[i]!] = stride
  const shape = keepDims ? x.shape.map((size, axis) => (isSummed[axis] ? 1 : size)) : sizes
  return scope(() => {
    const sums = sumsOver(x, kept).view(shape.length === 0 ? [1] : shape)
    return record(sums, [x], [], (dY, _, [dX]) => writeMultiple(dX!, 1, dense(dY).view(x.shape, strides)))
  })
}

/** Returns the mean of x over some axes, in float32, as `sum` does. */
export function mean(x: Tensor, axes?: number | readonly number[], keepDims = false): Tensor {
  requireFloats('x', x)
  if (x.elements === 0) throw unfit('at least one element for x', x)
  return scope(() => {
    const total = sum(x, axes, keepDims)
    return mul(total, total.elements / x.elements)
  })
}

/** Returns for each axis of x whether it is summed over. */
function summedAxes(x: Tensor, axes: unknown): boolean[] {
  if (axes === undefined) return x.shape.map(() => true)
  const isSummed = x.shape.map(() => false)
  for (const axis of Array.isArray(axes) ? axes : [axes]) {
    const at = axisOf(x, axis, 'axes')
    if (isSummed[at]) throw badValue('axes', 'each axis once', axes)
    isSummed[at] = true
  }
  return isSummed
}

/** Returns the sums of x over all axes but `kept`, dense, in float32. */
function sumsOver(x: Tensor, kept: readonly number[]): Tensor {
  const count = kept.reduce((product, axis) => product * x.shape[axis]!, 1)
  if (kept.length === 0) return wholeSum(x)
  if (x.elements === 0) return Tensor.zeros([count], { device: x.device })
  const summed = [...x.shape.keys()].filter((axis) => !kept.includes(axis))
  const areFirst = (axes: readonly number[]) => axes.every((axis, i) => axis === i)
  return noGrad(() => {
    if (areFirst(kept)) return rowSums(x, count)
    return areFirst(summed) ? columnSums(x, count) : rowSums(inOrder(x, [...kept, ...summed]), count)
  })
}

/**
 * Returns ln Σ e^x over an axis, by default the last, in float32, without overflow and in the shape of the others. Elements of
 * -Infinity count nothing.
 */
export function logSumExp(x: Tensor, axis = -1): Tensor {
  requireFloats('x', x)
  const at = axisOf(x, axis)
  if (x.shape[at] === 0) throw unfit(`at least one element along axis ${at} for x`, x)
  const others = [...x.shape.keys()].filter((other) => other !== at)
  const isLast = at === others.length
  return scope(() => {
    const rows = dense(cast(isLast ? x : permuted(x, [...others, at]), 'float32'))
    return reshape(
      logSumExpOfRows(reshape(rows, asRows(rows))),
      others.length === 0 ? [1] : others.map((other) => x.shape[other]!),
    )
  })
}

/** ln Σ e^x of each row of x [N, C], float32: [N] */
function logSumExpOfRows(x: Tensor): Tensor {
  const rows = x.shape[0]!
  const e = Tensor.empty(x.shape, x)
  // The mean of a row by its softmax is near its maximum, so that e^(x - mean) overflows nowhere. A cap of a power of two
  // changes no number but infinite ones, which have no product with a probability of 0.
  native.copy(x.native, e.native, 1)
  native.capLogits(e.native, 2 ** 100)
  const weights = Tensor.empty(x.shape, x)
  native.softmaxRows(e.native, false, weights.native)
  native.elementwise('multiply', weights.native, e.native, weights.native, false)
  const middle = rowSums(weights, rows)
  native.copy(middle.view(x.shape, [1, 0]).native, e.native, -1)
  native.add(x.native, e.native, 1)
  native.elementwise('exp', e.native, null, e.native, false)
  const sums = rowSums(e, rows)
  const y = Tensor.empty([rows], x)
  native.elementwise('log', sums.native, null, y.native, false)
  native.add(middle.native, y.native, 1)
  return record(y, [x], [e, sums], (dY, [exponentials, total], [dX]) => {
    const share = Tensor.empty([rows], y)
    native.elementwise('divide', dense(dY).native, total!.native, share.native, false)
    dX!.pass(scaleRows(exponentials!, share))
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
