/** Helpers of operations on tensors of any shape: errors about shapes and dtypes, dense memory, broadcasting. */
import { badValue } from '../../common/arguments.js'
import { UsageError } from '../../common/errors.js'
import { elementsOf, type FloatDType, isFloatDType, native } from '../../native/addon.js'
import { writeMultiple } from '../gradient-writes.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'

/** Throws unless x is a tensor. Operations check without schemas, since a step makes thousands of calls. */
export function requireTensor(name: string, x: unknown): asserts x is Tensor {
  if (!(x instanceof Tensor)) throw badValue(name, 'a Tensor', x)
}

/** Throws unless x is a tensor of floats. */
export function requireFloats(name: string, x: unknown): asserts x is Tensor & { dtype: FloatDType } {
  requireTensor(name, x)
  if (!isFloatDType(x.dtype)) throw unfit(`a tensor of float32, bfloat16 or float16 for ${name}`, x)
}

/** Throws unless x is a tensor of floats with as many dimensions as `letters` names. */
export function requireShape(name: string, x: unknown, letters: string): asserts x is Tensor & { dtype: FloatDType } {
  requireFloats(name, x)
  const dimensions = letters.split(', ').length
  if (x.shape.length !== dimensions) throw unfit(`${name} [${letters}]`, x)
}

/** Makes an error such as `Expected 2 dimensions for x but received float32 [3].` */
export function unfit(expected: string, ...came: readonly Tensor[]): UsageError {
  const all = came.map(({ dtype, shape }) => `${dtype} [${shape.join(', ')}]`).join(' and ')
  return new UsageError('unfit-shape', `Expected ${expected} but received ${all}.`)
}

/** Returns an axis of x counted from its first; -1 is its last. */
export function axisOf({ shape }: Tensor, axis: unknown, name = 'axis'): number {
  if (Number.isInteger(axis) && -shape.length <= (axis as number) && (axis as number) < shape.length) {
    return ((axis as number) + shape.length) % shape.length
  }
  const range =
    shape.length === 0 ? 'no axis (a scalar has none),' : `a whole number from ${-shape.length} to ${shape.length - 1}`
  throw badValue(name, range, axis)
}

/** Returns x with its elements in row-major order without gaps: x itself, or a copy. */
export function dense(x: Tensor): Tensor {
  if (x.isDense) return x
  const y = Tensor.empty(x.shape, x)
  native.copy(x.native, y.native, 1)
  return record(y, [x], [], (dY, _, [dX]) => dX!.pass(dY))
}

/** Returns a view of x whose gradient is summed apart, and passed on to x as a whole. */
export function withOwnGradient(x: Tensor): Tensor {
  return record(x.view(x.shape, x.strides), [x], [], (gradient, _, [dX]) => dX!.pass(gradient))
}

/** Returns the shape [N, C] of x [..., C] as a matrix of rows. */
export function asRows({ shape }: { shape: readonly number[] }): [number, number] {
  return [elementsOf(shape.slice(0, -1)), shape.at(-1) ?? 1]
}

/**
 * Repeats x to a larger shape: the element of [1], the row of [C] or [1, C], or the element of each row of [..., 1]. The
 * gradient is the sum over the repetitions.
 */
export function broadcast(x: Tensor, shape: readonly number[]): Tensor {
  if (x.shape.join() === shape.join()) return x
  const aligned = [...new Array<number>(Math.max(0, shape.length - x.shape.length)).fill(1), ...x.shape]
  const repeats = aligned.map((size, d) => size !== shape[d])
  const [first, last] = [repeats.indexOf(true), repeats.lastIndexOf(true)]
  const fits = aligned.length === shape.length && aligned.every((size, d) => size === 1 || size === shape[d])
  const before = aligned.slice(0, first).every((size) => size === 1)
  const after = aligned.slice(last + 1).every((size) => size === 1)
  if (!fits || repeats.slice(first, last).includes(false) || !(before || after)) {
    throw unfit(`a shape that [${shape.join(', ')}] repeats`, x)
  }
  const source = dense(x)
  let stride = 1
  const strides = aligned.map(() => 0)
  for (let d = shape.length - 1; d >= 0; d--) {
    if (!repeats[d]) strides[d] = stride
    stride *= aligned[d]!
  }
  const y = Tensor.empty(shape, x)
  native.copy(source.view(shape, strides).native, y.native, 1)
  return record(y, [source], [], (dY, _, [dX]) => {
    const sums = x.elements === 1 ? wholeSum(dY) : before ? columnSums(dY, x.elements) : rowSums(dY, x.elements)
    writeMultiple(dX!, 1, sums.view(x.shape))
  })
}

/** Sum of all elements, [1] float32. */
export function wholeSum(x: Tensor): Tensor {
  const total = Tensor.empty([1], { device: x.device })
  native.sum(dense(x).native, total.native, false)
  return total
}

/** Sums x as [rows, columns] over rows: [columns] float32. */
export function columnSums(x: Tensor, columns: number): Tensor {
  const sums = Tensor.empty([columns], { device: x.device })
  native.columnSums(dense(x).view([columns && x.elements / columns, columns]).native, sums.native, false)
  return sums
}

/** Sums x as [rows, columns] over columns: [rows] float32. */
export function rowSums(x: Tensor, rows: number): Tensor {
  const sums = Tensor.zeros([rows, 1], { device: x.device })
  if (x.elements > 0) {
    const columns = x.elements / rows
    const ones = Tensor.empty([columns, 1], x)
    native.fill(ones.native, 1)
    native.matmul({ a: dense(x).view([rows, columns]).native, b: ones.native, c: sums.native })
  }
  return sums.view([rows])
}
