/** Operations that adapters build a ΔW from, in float32 with gradients: scaling rows, placing blocks, scattering values. */
import { elementsOf, native } from '../../native/addon.js'
import { writeByStoring, writeMultiple } from '../gradient-writes.js'
import { scope } from '../scope.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'
import { asRows, dense, rowSums } from './shaped.js'

/** Multiplies each row of x [..., k] by its element of `factors` [...], in float32. A constant x may have 16 bits. */
export function scaleRows(x: Tensor, factors: Tensor): Tensor {
  const [rows, columns] = asRows(x)
  const scaled = (matrix: Tensor, by: Tensor): Tensor =>
    scope(() => {
      const y = Tensor.empty(x.shape, { device: x.device })
      const ones = Tensor.empty([columns], y)
      native.fill(ones.native, 1)
      const target = y.view([rows, columns]).native
      const isRead = matrix.dtype === 'float32' && matrix.shape.length === 2
      if (!isRead) native.copy(matrix.native, y.native, 1)
      native.rmsNormApply(isRead ? matrix.native : target, ones.native, 0, by.view([rows]).native, target)
      return y
    })
  return record(scaled(x, factors), [x, factors], [x, factors], (dY, [matrix, own], [dX, dFactors]) => {
    if (dX!.needed) dX!.pass(scaled(dY, own!))
    if (!dFactors!.needed) return
    const products = Tensor.empty([rows, columns], { device: x.device })
    const asMatrix = (tensor: Tensor) =>
      (tensor.shape.length === 2 ? tensor : dense(tensor).view([rows, columns])).native
    native.multiply(asMatrix(matrix!), asMatrix(dY), products.native, 1, false)
    dFactors!.pass(rowSums(products, rows).view(factors.shape))
  })
}

/**
 * Multiplies float32 x [n, k] by a constant of any float dtype, elementwise, in x's memory: x must be the result of the
 * operation before, with no other use.
 */
export function weighted(x: Tensor, constant: Tensor): Tensor {
  native.multiply(constant.native, x.native, x.native, 1, false)
  return record(x.view(x.shape), [x], [constant], (dY, [weights], [dX]) => {
    dX!.write((target, add) => native.multiply(weights!.native, dY.native, target.native, 1, add))
  })
}

/**
 * Places blocks of x [p, p · s, h] on the diagonals of p matrices [p · s, p · h] of zeros: block j of matrix i is rows
 * [i · s, (i + 1) · s) of x[j].
 */
export function onDiagonal(x: Tensor): Tensor {
  const [p, rows, h] = x.shape as [number, number, number]
  const shape = [p, p, rows / p, h]
  const parts = (of: Tensor) => of.view(shape, [(rows / p) * h, rows * h, h, 1]).native
  const blocks = (of: Tensor) => of.view(shape, [rows * p * h, rows * h + h, p * h, 1]).native
  const y = Tensor.zeros([p, rows, p * h], x)
  native.copy(parts(x), blocks(y), 1)
  return record(y, [x], [], (dY, _, [dX]) => {
    writeByStoring(dX!, (target) => native.copy(blocks(dense(dY)), parts(target), 1))
  })
}

/** Puts the values of x into zeros of a shape, at distinct row-major indices `places` (int32). */
export function scatter(x: Tensor, places: Tensor, shape: readonly number[]): Tensor {
  const column = (tensor: Tensor) => tensor.view([elementsOf(tensor.shape), 1]).native
  const y = Tensor.zeros(shape, x)
  native.scatterRows(column(x), places.native, column(y))
  return record(y, [x], [places], (dY, [at], [dX]) => {
    writeByStoring(dX!, (target) => native.gatherRows(column(dense(dY)), at!.native, column(target)))
  })
}

/** Swaps the last two axes of x [..., n, k], in new memory. */
export function transpose(x: Tensor): Tensor {
  const swapped = (list: readonly number[]) => [...list.slice(0, -2), list.at(-1)!, list.at(-2)!]
  const turned = (tensor: Tensor) => tensor.view(swapped(tensor.shape), swapped(tensor.strides))
  const y = Tensor.empty(swapped(x.shape), x)
  native.copy(turned(x).native, y.native, 1)
  return record(y, [x], [], (dY, _, [dX]) => writeMultiple(dX!, 1, turned(dY)))
}
