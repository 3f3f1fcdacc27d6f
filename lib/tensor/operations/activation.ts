import { type Activation, type DropoutKey, native } from '../../native/addon.js'
import { storeOrDrop, writeByStoring } from '../gradient-writes.js'
import { recomputable, record } from '../tape.js'
import { Tensor } from '../tensor.js'

/**
 * f(gate) · up from [T, 2F] = [gate | up]: [T, F]. SwiGLU with `silu`, GeGLU with `gelu` or `geluTanh` (arXiv 2002.05202).
 * The backward pass computes it again for nodes that saved it.
 */
export function gatedActivation(gateUp: Tensor, f: Activation): Tensor {
  const tokens = gateUp.shape[0]!
  const features = gateUp.shape[1]! / 2
  const halves = (tensor: Tensor) => [tensor.columns(0, features), tensor.columns(features, 2 * features)] as const
  const compute = (): Tensor => {
    const [gate, up] = halves(gateUp)
    const y = Tensor.empty([tokens, features], gateUp)
    native.activation(f, gate.native, up.native, y.native)
    gate.dispose()
    up.dispose()
    return y
  }
  const y = record(compute(), [gateUp], [gateUp], (dY, [input], [dInput]) => {
    const [gate, up] = halves(input!)
    const writeTo = (target: Tensor) => {
      const [dGate, dUp] = halves(target)
      native.activationBackward({
        f,
        dY: dY.native,
        gate: gate.native,
        up: up.native,
        dGate: dGate.native,
        dUp: dUp.native,
      })
    }
    // If only this node still uses the input, its memory becomes the gradient: these are the largest activations of a block.
    if (!dInput!.needed || !input!.hasOneReference) return writeByStoring(dInput!, writeTo)
    writeTo(input!)
    dInput!.pass(input!)
  })
  return recomputable(y, [gateUp], compute)
}

/** f(gate) · factors of two matrices [T, F]. */
export function activatedTimes(gate: Tensor, factors: Tensor, f: Activation): Tensor {
  const y = Tensor.empty(gate.shape, gate)
  native.activation(f, gate.native, factors.native, y.native)
  return record(y, [gate, factors], [gate, factors], (dY, [input, other], [dGate, dFactors]) => {
    const inputs = { f, dY: dY.native, gate: input!.native, up: other!.native }
    storeOrDrop(dGate!, input!, (toGate) =>
      storeOrDrop(dFactors!, other!, (toFactors) =>
        native.activationBackward({ ...inputs, dGate: toGate.native, dUp: toFactors.native }),
      ),
    )
  })
}

/** f(x) of [T, F]. The backward pass computes it again for nodes that saved it. */
export function activation(x: Tensor, f: Activation): Tensor {
  const compute = (): Tensor => {
    const y = Tensor.empty(x.shape, x)
    native.activation(f, x.native, null, y.native)
    return y
  }
  const y = record(compute(), [x], [x], (dY, [input], [dX]) => {
    writeByStoring(dX!, (target) =>
      native.activationBackward({ f, dY: dY.native, gate: input!.native, dGate: target.native }),
    )
  })
  return recomputable(y, [x], compute)
}

/** x with elements dropped and the rest scaled by 1 / (1 - p). The mask is a function of the key and of rowKeys [T] (int64). */
export function dropout(x: Tensor, rowKeys: Tensor, key: DropoutKey): Tensor {
  const y = Tensor.empty(x.shape, x)
  native.dropout(x.native, rowKeys.native, key, y.native)
  return record(y, [x], [rowKeys], (dY, [keys], [dX]) => {
    writeByStoring(dX!, (target) => native.dropout(dY.native, keys!.native, key, target.native))
  })
}
