/** Rows and elements selected by indices, with gradients. */
import { badValue, isListOfWholes } from '../../common/arguments.js'
import { UsageError } from '../../common/errors.js'
import { elementsOf, type FloatDType, native } from '../../native/addon.js'
import { writeByAdding, writeByStoring } from '../gradient-writes.js'
import { scope } from '../scope.js'
import { noGrad, record } from '../tape.js'
import { type GradientTarget, Tensor } from '../tensor.js'
import type { Weight } from '../weight.js'
import { axisOf, dense, requireFloats, requireShape, unfit } from './shaped.js'

/** Returns rows of x [T, D] at the indices `rows`, in their order: [N, D]. Gradients of a row that is listed twice add up. */
export function gatherRows(x: Tensor, rows: ArrayLike<number>): Tensor {
  requireShape('x', x, 'T, D')
  const [count, columns] = x.shape as readonly [number, number]
  requireIndices('rows', rows, count)
  return pick(x, [count, columns], Int32Array.from(rows), [rows.length, columns])
}

/**
 * Returns one element of each row of x [N, V], at its index: [N]. With K indices for each row, listed row by row: [N, K].
 * Along another axis of x, of any shape, `indices` has one element, or K, for each place beside the axis, in the order of the
 * result, whose shape is that of x without the axis, or with K in its place. Gradients of an element that is listed twice add
 * up.
 */
export function gather(x: Tensor, indices: ArrayLike<number>, axis = -1): Tensor {
  requireFloats('x', x)
  const at = axisOf(x, axis)
  const size = x.shape[at]!
  requireIndices('indices', indices, size)
  const [before, after] = [x.shape.slice(0, at), x.shape.slice(at + 1)]
  const inner = elementsOf(after)
  const places = elementsOf(before) * inner
  const each = places === 0 ? 1 : indices.length / places
  if (!Number.isInteger(each) || indices.length < places) {
    throw unfit(
      `${places} or a multiple of it for the number of indices (${indices.length}) along axis ${at} into x`,
      x,
    )
  }
  if (x.elements >= 2 ** 31) throw unfit('fewer than 2147483648 elements for x (gather from a part of its rows)', x)
  const flat = (index: number, i: number) => (Math.floor(i / (each * inner)) * size + index) * inner + (i % inner)
  const shape = [...before, ...(each === 1 ? [] : [each]), ...after]
  return pick(x, [x.elements, 1], Int32Array.from(indices, flat), shape.length === 0 ? [1] : shape)
}

/** Returns rows [from, to) of x along its first dimension, in the same memory. */
export function slice(x: Tensor, from: number, to: number): Tensor {
  requireFloats('x', x)
  const y = noGrad(() => x.rows(from, to))
  return record(y, [x], [], (dY, _, [dX]) => {
    writeByAdding(dX!, (target) => native.add(dY.native, target.rows(from, to).native, 1))
  })
}

/** Returns columns [from, to) of a matrix x, in the same memory. */
export function sliceColumns(x: Tensor, from: number, to: number): Tensor {
  return record(x.columns(from, to), [x], [], (dY, _, [dX]) => {
    writeByAdding(dX!, (target) => native.add(dY.native, target.columns(from, to).native, 1))
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

/** Rows of table [V, D] at ids [T] (int32), in `dtype`. Ids out of range reject the next wait. */
export function embedding(table: Weight, ids: Tensor, dtype: FloatDType): Tensor {
  const y = Tensor.empty([ids.shape[0]!, table.shape[1]!], { device: table.device, dtype })
  table.lookUp(ids, y)
  return record(y, table.floats ? [table.floats] : [], [ids], (dY, [at], [dTable]) => {
    writeByAdding(dTable!, (target) => native.embeddingBackward(dY.native, at!.native, target.native))
  })
}
