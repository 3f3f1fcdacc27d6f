/** Tensors in other shapes, with gradients: reshaped, joined, and with their axes in another order. */
import { badValue, isListOfWholes } from '../../common/arguments.js'
import { elementsOf, native } from '../../native/addon.js'
import { writeMultiple } from '../gradient-writes.js'
import { scope } from '../scope.js'
import { noGrad, record } from '../tape.js'
import { Tensor } from '../tensor.js'
import { axisOf, dense, requireFloats, unfit } from './shaped.js'

/** Returns the elements of x, in row-major order, in another shape: in the same memory, or a copy if x has gaps. */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  requireFloats('x', x)
  if (!isListOfWholes(shape)) throw badValue('shape', 'a list of whole numbers', shape)
  if (elementsOf(shape) !== x.elements) {
    throw unfit(`as many elements as [${shape.join(', ')}] has (${elementsOf(shape)}) for x`, x)
  }
  return scope(() => {
    const source = dense(x)
    const y = noGrad(() => source.view(shape))
    return record(y, [source], [], (dY, _, [dX]) => dX!.pass(dense(dY).view(x.shape)))
  })
}

/** Joins tensors of one dtype along an axis, by default the first; all their other sizes are equal. */
export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  const first = requireSome(tensors)
  const at = axisOf(first, axis)
  const others = ({ shape }: Tensor) => shape.toSpliced(at, 1).join()
  for (const [i, each] of tensors.entries()) {
    const fits = each.dtype === first.dtype && each.shape.length === first.shape.length
    if (!fits || others(each) !== others(first)) {
      throw unfit(
        `tensors of one dtype, with the same sizes except along axis ${at}, for tensors[0] and tensors[${i}]`,
        first,
        each,
      )
    }
  }
  const sizes = tensors.map(({ shape }) => shape[at]!)
  const shape = first.shape.with(
    at,
    sizes.reduce((sum, size) => sum + size, 0),
  )
  const parts = (whole: Tensor): Tensor[] => {
    let from = 0
    return sizes.map((size) => {
      const part = whole.view(shape.with(at, size), whole.strides, from * whole.strides[at]!)
      from += size
      return part
    })
  }
  return scope(() => {
    const y = Tensor.empty(shape, first)
    for (const [i, part] of parts(y).entries()) native.copy(tensors[i]!.native, part.native, 1)
    return record(y, tensors, [], (dY, _, targets) => {
      for (const [i, part] of parts(dY).entries()) writeMultiple(targets[i]!, 1, part)
    })
  })
}

/** Joins tensors of one shape and dtype along a new axis, by default before their first; -1 is behind their last. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  const { shape, dtype } = requireSome(tensors)
  const [least, most] = [-shape.length - 1, shape.length]
  if (!(Number.isInteger(axis) && least <= axis && axis <= most)) {
    throw badValue('axis', `a whole number from ${least} to ${most}`, axis)
  }
  const odd = tensors.findIndex((each) => each.dtype !== dtype || each.shape.join() !== shape.join())
  if (odd > 0)
    throw unfit(`tensors of one shape and dtype for tensors[0] and tensors[${odd}]`, tensors[0]!, tensors[odd]!)
  const at = axis < 0 ? axis + shape.length + 1 : axis
  const single = shape.toSpliced(at, 0, 1)
  return scope(() =>
    concat(
      tensors.map((each) => reshape(each, single)),
      at,
    ),
  )
}

/** Copies x with its axes in another order: axis i of the result is axis order[i] of x. */
export function permuted(x: Tensor, order: readonly number[]): Tensor {
  const y = Tensor.empty(
    order.map((axis) => x.shape[axis]!),
    x,
  )
  native.copy(inOrder(x, order).native, y.native, 1)
  const back = order.map((_, axis) => order.indexOf(axis))
  return record(y, [x], [], (dY, _, [dX]) => writeMultiple(dX!, 1, inOrder(dY, back)))
}

/** Views x with its axes in another order, as a constant. */
export function inOrder(x: Tensor, order: readonly number[]): Tensor {
  const of = (list: readonly number[]) => order.map((axis) => list[axis]!)
  return noGrad(() => x.view(of(x.shape), of(x.strides)))
}

function requireSome(tensors: unknown): Tensor {
  if (!Array.isArray(tensors) || tensors.length === 0)
    throw badValue('tensors', 'a list of at least one Tensor', tensors)
  for (const [i, each] of tensors.entries()) requireFloats(`tensors[${i}]`, each)
  return tensors[0]
}
