import { native } from '../../native/addon.js'
import { writeMultiple } from '../gradient-writes.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'

/** x · factor, in x's memory: x must be the result of the operation before, with no other use. */
export function scaled(x: Tensor, factor: number): Tensor {
  if (factor === 1) return x
  native.copy(x.native, x.native, factor)
  const y = x.view(x.shape, x.strides)
  return record(y, [x], [], (dY, _, [dX]) => writeMultiple(dX!, factor, dY))
}

/** x [T, D] · factor [1], a float32 constant on the device, in x's memory: x must be as for `scaled`. */
export function scaledBy(x: Tensor, factor: Tensor): Tensor {
  multiply(x, factor, x)
  return record(x.view(x.shape, x.strides), [x], [factor], (dY, [constant], [dX]) => {
    if (!dX!.needed) return
    const gradient = Tensor.empty(dY.shape, dY)
    multiply(dY, constant!, gradient)
    dX!.pass(gradient)
  })
}

/** The same arithmetic as a norm's whose rows all have the factor. */
function multiply(x: Tensor, factor: Tensor, y: Tensor): void {
  const [rows, columns] = x.shape as [number, number]
  const [factors, ones] = [rows, columns].map((size) => Tensor.empty([size], { device: x.device })) as [Tensor, Tensor]
  native.copy(factor.view([rows], [0]).native, factors.native, 1)
  native.fill(ones.native, 1)
  native.rmsNormApply(x.native, ones.native, 0, factors.native, y.native)
}
