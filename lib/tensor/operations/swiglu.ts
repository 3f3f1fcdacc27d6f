import { native } from '../../native.js'
import { writeByStoring } from '../gradient-writes.js'
import { recomputable, record } from '../tape.js'
import { Tensor } from '../tensor.js'

/** silu(gate) · up from [T, 2F] = [gate | up]: [T, F]. Made again in the backward pass for whoever saved it. */
export function swiglu(gateUp: Tensor): Tensor {
  const tokens = gateUp.shape[0]!
  const features = gateUp.shape[1]! / 2
  const halves = (tensor: Tensor) => [tensor.columns(0, features), tensor.columns(features, 2 * features)] as const
  const compute = (): Tensor => {
    const [gate, up] = halves(gateUp)
    const y = Tensor.empty([tokens, features], gateUp)
    native.swiglu(gate.native, up.native, y.native)
    gate.dispose()
    up.dispose()
    return y
  }
  const y = record(compute(), [gateUp], [gateUp], (dY, [input], [dInput]) => {
    const [gate, up] = halves(input!)
    writeByStoring(dInput!, (target) => {
      const [dGate, dUp] = halves(target)
      native.swigluBackward(dY.native, gate.native, up.native, dGate.native, dUp.native)
    })
  })
  return recomputable(y, [gateUp], compute)
}
