/** Helpers to write gradients, also with kernels that can only store or only add, where `GradientTarget.write` asks for both. */
import { type NativeTensor, native } from '../native/addon.js'
import { isOne } from './tape.js'
import { type GradientTarget, Tensor } from './tensor.js'

/** Writes a gradient with a kernel that overwrites its output: if there is a gradient already, through a temporary that is added. */
export function writeByStoring(target: GradientTarget, store: (gradient: Tensor) => void): void {
  target.write((gradient, accumulate) => {
    if (!accumulate) return store(gradient)
    const part = Tensor.empty(gradient.shape, gradient)
    store(part)
    native.add(part.native, gradient.native, 1)
  })
}

/** Writes a gradient with a kernel that adds to its output: a new gradient starts as zeros. */
export function writeByAdding(target: GradientTarget, add: (gradient: Tensor) => void): void {
  target.write((gradient, accumulate) => {
    if (!accumulate) native.fill(gradient.native, 0)
    add(gradient)
  })
}

/** Returns the memory, as a view of it, to which a kernel may add a parameter's gradient, or null if none is needed. */
export function addingTo(target: GradientTarget, view = (gradient: Tensor) => gradient): NativeTensor | null {
  let memory: NativeTensor | null = null
  writeByAdding(target, (gradient) => {
    memory = view(gradient).native
  })
  return memory
}

/** Writes the gradient of x, or, if it is not needed, discards it: for kernels that compute other gradients along with it. */
export function writeOrDrop(dX: GradientTarget, x: Tensor, write: (target: Tensor, accumulate: boolean) => void): void {
  if (dX.needed) dX.write(write)
  else write(Tensor.empty(x.shape, x), false)
}

/** Like `writeOrDrop`, with a kernel that overwrites its output. */
export function storeOrDrop(dX: GradientTarget, x: Tensor, store: (gradient: Tensor) => void): void {
  if (dX.needed) writeByStoring(dX, store)
  else store(Tensor.empty(x.shape, x))
}

/** Stores or adds gradient [1] · values. A gradient that is known to be 1 costs nothing, any other a product. */
export function writeScaled(target: GradientTarget, gradient: Tensor, values: Tensor): void {
  if (isOne(gradient)) {
    target.pass(values)
    return
  }
  target.write((into, accumulate) => {
    const flat = (tensor: Tensor) => tensor.view([tensor.elements, 1])
    const factor = Tensor.empty([1, 1], { device: values.device, dtype: values.dtype })
    native.copy(gradient.view([1, 1]).native, factor.native, 1)
    native.matmul({ a: flat(values).native, b: factor.native, c: flat(into).native, accumulate })
  })
}

/** Stores or adds factor · values. */
export function writeMultiple(target: GradientTarget, factor: number, values: Tensor): void {
  target.write((into, accumulate) => {
    if (accumulate) native.add(values.native, into.native, factor)
    else native.copy(values.native, into.native, factor)
  })
}

/** Stores or adds scale · dYᵀ x [d, k]: the gradient of a weight, from dY [T, d] and x [T, k]. */
export function writeWeightGradient(target: GradientTarget, dY: Tensor, x: Tensor, scale = 1): void {
  target.write(({ native: c }, accumulate) =>
    native.matmul({ a: dY.native, transposeA: true, b: x.native, c, alpha: scale, accumulate }),
  )
}
