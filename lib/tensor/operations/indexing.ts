/** Rows and elements selected by indices, with gradients. */
import { badValue, isListOfWholes } from '../../common/arguments.js'
import { UsageError } from '../../common/errors.js'
import { native } from '../../native/addon.js'
import { writeByAdding, writeByStoring } from '../gradient-writes.js'
import { scope } from '../scope.js'
import { record } from '../tape.js'
import { type GradientTarget, Tensor } from '../tensor.js'
import { dense, requireFloats, requireShape, unfit } from './shaped.js'

/** Returns rows of x [T, D] at the indices `rows`, in their order: [N, D]. Gradients of a row that is listed twice add up. */
export function gatherRows(x: Tensor, rows: ArrayLike<number>): Tensor {
  requireShape('x', x, 'T, D')
  const [count, columns] = x.shape as readonly [number, number]
  requireIndices('rows', rows, count)
  return pick(x, [count, columns], Int32Array.from(rows), [rows.length, columns])
}

/**
 * Returns one element of each row of x [N, V], at its index: [N]. With K indices for each row, listed row by row: [N, K].
 * Gradients of an element that is listed twice add up.
 */
export function gather(x: Tensor, indices: ArrayLike<number>): Tensor {
  requireShape('x', x, 'N, V')
  const [rows, columns] = x.shape as readonly [number, number]
  requireIndices('indices', indices, columns)
  const each = rows === 0 ? 1 : indices.length / rows
  if (!Number.isInteger(each) || indices.length < rows) {
    throw unfit(`N or a multiple of it for the number of indices (${indices.length}) into x [N, V]`, x)
  }
  if (x.elements >= 2 ** 31) throw unfit('fewer than 2147483648 elements for x (gather from a part of its rows)', x)
  const at = Int32Array.from(indices, (index, i) => Math.floor(i / each) * columns + index)
  return pick(x, [x.elements, 1], at, each === 1 ? [rows] : [rows, each])
}

/** Returns rows [from, to) of x along its first dimension, in the same memory. */
export function slice(x: Tensor, from: number, to: number): Tensor {
  requireFloats('x', x)
  const y = x.rows(from, to)
  return record(y, [x], [], (dY, _, [dX]) => {
    writeByAdding(dX!, (target) => native.add(dY.native, target.rows(from, to).native, 1))
  })
}

/** Picks rows `at` of x, viewed as a matrix of `shape`, and returns them in the shape `result`. */
function pick(x: Tensor, shape: readonly [number, number], at: Int32Array, result: readonly number[]): Tensor {
  return scope(() => {
    const indices = Tensor.from(at, [at.length], { device: x.device, dtype: 'int32' })
    const y = Tensor.empty(result, x)
    const source = dense(x)
    native.gatherRows(source.view(shape).native, indices.native, y.view([at.length, shape[1]]).native)
    const distinct = new Set(at).size === at.length
    return record(y, [source], [indices], (dY, [places], [dX]) => {
      const gradient = dense(dY).view([at.length, shape[1]])
      const scatter = distinct ? scatterRows : addRows
      scatter(dX!, gradient, places!, shape)
    })
  })
}

function scatterRows(dX: GradientTarget, dY: Tensor, places: Tensor, shape: readonly number[]): void {
  writeByStoring(dX, (target) => {
    native.fill(target.native, 0)
    native.scatterRows(dY.native, places.native, target.view(shape).native)
  })
}

/** Adds rows to the gradient at their places; rows of one place are summed in float32, in order. */
function addRows(dX: GradientTarget, dY: Tensor, places: Tensor, shape: readonly number[]): void {
  writeByAdding(dX, (target) => {
    if (target.dtype === 'float32') {
      native.embeddingBackward(dY.native, places.native, target.view(shape).native)
      return
    }
    const sums = Tensor.zeros(shape, { device: target.device })
    native.embeddingBackward(dY.native, places.native, sums.native)
    native.add(sums.native, target.view(shape).native, 1)
  })
}

function requireIndices(name: string, list: unknown, limit: number): void {
  if (!isListOfWholes(list)) throw badValue(name, 'a list of whole numbers', list)
  for (let i = 0; i < list.length; i++) {
    if (list[i]! >= 0 && list[i]! < limit) continue
    const expected = limit === 0 ? 'none' : `whole numbers from 0 to ${limit - 1}`
    throw new UsageError('bad-value', `Expected ${expected} for ${name} but received ${list[i]} at place ${i}.`)
  }
}
