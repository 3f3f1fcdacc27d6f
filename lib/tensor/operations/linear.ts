import { type FloatDType, native } from '../../native/addon.js'
import { type Destination, destinationOr } from '../destination.js'
import { writeWeightGradient } from '../gradient-writes.js'
import type { Parameter } from '../parameter.js'
import { scope } from '../scope.js'
import { record } from '../tape.js'
import { type GradientTarget, Tensor } from '../tensor.js'
import { floatsOf, type Weight, weightOf } from '../weight.js'

/**
 * y [T, d] = x [T, k] weight [d, k]ᵀ for a frozen weight, with products of 8-bit integers forwards and backwards
 * (SwitchBack, arXiv 2304.13013): each row of the weight, x and dY is rounded to 8 bits of its largest value. The weight and x
 * are rotated before, which leaves their product unchanged and spreads outliers over the row.
 */
export function int8Linear(x: Tensor, weight: Weight, into?: Destination): Tensor {
  const { target: y, accumulate } = destinationOr(into, [x.shape[0]!, weight.shape[0]!], x)
  native.matmulInt8({ a: x.native, b: floatsOf(weight).native, transposeB: true, c: y.native, accumulate })
  return record(y, [x], weight.tensors, (dY, _, [dX]) => {
    dX!.write((target, add) =>
      native.matmulInt8({ a: dY.native, b: floatsOf(weight).native, c: target.native, accumulate: add }),
    )
  })
}

/**
 * y [T, d] = x [T, k] weight [d, k]ᵀ, in x's dtype with float32 accumulation. A frozen weight gets no gradient; a
 * Parameter's is float32.
 */
export function weightProduct(x: Tensor, weight: Weight, into?: Destination): Tensor {
  const { target: y, accumulate } = destinationOr(into, [x.shape[0]!, weight.shape[0]!], x)
  weight.multiply(x, y, 1, accumulate)
  const { floats, tensors } = weight
  const saved = floats?.requiresGrad ? [x, ...tensors] : tensors
  return record(y, floats ? [x, floats] : [x], saved, (dY, [input], [dX, dWeight]) => {
    dX!.write((target, add) => weight.multiplyGradient(dY, target, 1, add))
    if (dWeight) writeWeightGradient(dWeight, dY, input!)
  })
}

/** A trained change ΔW of some rows of a weight W, which joins the product with W. */
export interface WeightUpdate {
  /** The first changed row of the weight, which is the first changed column of y. */
  readonly from: number
  /** One past the last changed row. */
  readonly to: number
  /** The trained tensors that ΔW is computed from. */
  readonly parameters: readonly Parameter[]
  /** Whether ΔW or its gradients depend on W. Default true; if false, W is not unpacked and `weight` has no rows. */
  readonly readsWeight?: boolean
  /**
   * rows [to - from, k] (float32) += ΔW, in place; `weight` has the frozen rows. `untouched` says that `rows` still equal
   * them, without another update.
   */
  addTo(rows: Tensor, weight: Tensor, untouched: boolean): void
  /**
   * Like `addTo`, for updates whose gradients come from the tape: returns a tensor without values that has ΔW's node, so that
   * `backward` need not compute ΔW again.
   */
  addTraced?(rows: Tensor, weight: Tensor): Tensor
  /** Writes the parameters' gradients, from dY [T, to - from], x [T, k] and the frozen rows. */
  backward(dY: Tensor, x: Tensor, targets: readonly GradientTarget[], weight: Tensor, trace?: Tensor): void
}

/**
 * y [T, d] = x [T, k] (W + ΔW)ᵀ for a frozen W [d, k]. Each product computes the sum in float32 and drops it, which costs a
 * pass over W for any T.
 */
export function updatedLinear(x: Tensor, weight: Weight, updates: readonly WeightUpdate[], into?: Destination): Tensor {
  return productOfUpdates(x, weight, updates, true, into)
}

/** y [T, d] = x [T, k] ΔWᵀ alone, for a change of all rows of a frozen W [d, k]. */
export function updateLinear(
  x: Tensor,
  weight: Weight,
  update: Omit<WeightUpdate, 'from' | 'to'>,
  into?: Destination,
): Tensor {
  return productOfUpdates(x, weight, [{ ...update, from: 0, to: weight.shape[0]! }], false, into)
}

function productOfUpdates(
  x: Tensor,
  weight: Weight,
  updates: readonly WeightUpdate[],
  withWeight: boolean,
  into: Destination | undefined,
): Tensor {
  const { target: y, accumulate } = destinationOr(into, [x.shape[0]!, weight.shape[0]!], x)
  const multiply = (a: Tensor, target: Tensor, accumulate: boolean, values: Tensor | null, backwards: boolean) =>
    scope(() => {
      const sum = withWeight ? ownFloats(weight, values) : Tensor.zeros(weight.shape, { device: weight.device })
      const traces = updates.map((update, i) => {
        const [rows, own] = [sum.rows(update.from, update.to), rowsOf(values, update, weight)]
        if (backwards && update.addTraced) return update.addTraced(rows, own)
        update.addTo(rows, own, withWeight && updates.findIndex(({ from }) => from === update.from) === i)
        return undefined
      })
      native.matmul({ a: a.native, b: sum.native, transposeB: !backwards, c: target.native, accumulate })
      return traces
    })
  scope(() => void multiply(x, y, accumulate, valuesFor(updates, weight), false))
  const parameters = updates.flatMap((update) => update.parameters)
  return record(y, [x, ...parameters], [x, ...weight.tensors], (dY, [input], [dX, ...targets]) => {
    const values = valuesFor(updates, weight)
    let traces: readonly (Tensor | undefined)[] = []
    dX!.write((target, add) => {
      traces = multiply(dY, target, add, values, true)
    })
    for (const [i, update] of updates.entries()) {
      const own = targets.splice(0, update.parameters.length)
      const rows = rowsOf(values, update, weight)
      update.backward(dY.columns(update.from, update.to), input!, own, rows, traces[i])
    }
  })
}

/** Unpacks a weight to float32 for updates that read it; null if none does. */
function valuesFor(updates: readonly Pick<WeightUpdate, 'readsWeight'>[], weight: Weight): Tensor | null {
  return updates.some(({ readsWeight = true }) => readsWeight) ? floatsOf(weight) : null
}

/** Copies a weight [d, k] to float32 memory that may be changed, from its unpacked `values` if given. */
function ownFloats(weight: Weight, values: Tensor | null): Tensor {
  return (values ? weightOf(values) : weight).values('float32')
}

function rowsOf(values: Tensor | null, { from, to }: WeightUpdate, { device, shape }: Weight): Tensor {
  return values?.rows(from, to) ?? Tensor.empty([0, shape[1]!], { device })
}

/**
 * Returns W + ΔW [d, k] in float32 for a frozen W, with gradients for the updates' parameters: for a weight that is looked up,
 * or used in many products.
 */
export function changedWeight(stored: Weight, updates: readonly Omit<WeightUpdate, 'from' | 'to'>[]): Tensor {
  const values = valuesFor(updates, stored)
  const sum = ownFloats(stored, values)
  const { shape, device } = stored
  const [d, k] = shape as [number, number]
  const none = values ?? Tensor.empty([0, k], { device })
  for (const [i, update] of updates.entries()) update.addTo(sum, none, i === 0)
  const parameters = updates.flatMap((update) => update.parameters)
  return record(sum, parameters, [none], (gradient, [unpacked], targets) => {
    // The gradient of W equals that of a product with x = I [k, k] and dY = gradientᵀ [k, d].
    const x = Tensor.zeros([k, k], { device })
    native.fill(x.view([k], [k + 1]).native, 1)
    const dY = Tensor.empty([k, d], { device })
    dY.copyFrom(gradient.view([k, d], [1, k]))
    let at = 0
    for (const update of updates) {
      update.backward(dY, x, targets.slice(at, at + update.parameters.length), stored.floats ?? unpacked!)
      at += update.parameters.length
    }
  })
}

/** Adds bias [d] to every row of a destination that has values already. */
export function addBias(bias: Tensor, { target: y }: Destination): Tensor {
  native.addBias(bias.native, y.native)
  return record(y, [bias], [], (dY, _, [dBias]) => {
    dBias!.write((target, add) => native.columnSums(dY.native, target.native, add))
  })
}

/** y [T, r] = scale · x [T, k] aᵀ for a float32 Parameter a [r, k], a factor of a low-rank adapter. */
export function factor(x: Tensor, a: Parameter, scale = 1, into?: Destination): Tensor {
  const dtype = x.dtype as FloatDType
  const { target: y, accumulate } = destinationOr(into, [x.shape[0]!, a.shape[0]!], x)
  native.matmul({ a: x.native, b: a.as(dtype).native, transposeB: true, c: y.native, alpha: scale, accumulate })
  return record(y, [x, a], a.requiresGrad ? [x] : [], (dY, [input], [dX, dA]) => {
    dX!.write((target, add) =>
      native.matmul({ a: dY.native, b: a.as(dtype).native, c: target.native, alpha: scale, accumulate: add }),
    )
    if (input) writeWeightGradient(dA!, dY, input, scale)
  })
}
