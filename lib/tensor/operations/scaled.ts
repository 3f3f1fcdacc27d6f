import { native } from '../../native/addon.js'
import { writeMultiple } from '../gradient-writes.js'
import { record } from '../tape.js'
import type { Tensor } from '../tensor.js'

/** x · factor, in x's memory: x must be the result of the operation before, with no other use. */
export function scaled(x: Tensor, factor: number): Tensor {
  if (factor === 1) return x
  native.copy(x.native, x.native, factor)
  const y = x.view(x.shape, x.strides)
  return record(y, [x], [], (dY, _, [dX]) => writeMultiple(dX!, factor, dY))
}
