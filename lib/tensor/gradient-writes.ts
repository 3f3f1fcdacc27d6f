/** For kernels that cannot choose between storing a gradient and adding to one, as `GradientTarget.write` asks. */
import { type NativeTensor, native } from '../native/addon.js'
import { isOne } from './tape.js'
import { type GradientTarget, Tensor } from './tensor.js'

/** For a kernel that overwrites its output: where a gradient is there already, the new one is made beside it and added. */
export function writeByStoring(target: GradientTarget, store: (gradient: Tensor) => void): void {
  target.write((gradient, accumulate) => {
    if (!accumulate) return store(gradient)
    const part = Tensor.empty(gradient.shape, gradient)
    store(part)
    native.add(part.native, gradient.native, 1)
  })
}

/** For a kernel that adds to its output: a gradient starts as zeros. */
export function writeByAdding(target: GradientTarget, add: (gradient: Tensor) => void): void {
  target.write((gradient, accumulate) => {
    if (!accumulate) native.fill(gradient.native, 0)
    add(gradient)
  })
}

/** Where a kernel may add the gradient of a parameter, or null where none is wanted. */
export function addingTo(target: GradientTarget): NativeTensor | null {
  let memory: NativeTensor | null = null
  writeByAdding(target, (gradient) => {
    memory = gradient.native
  })
  return memory
}

/** Writes the gradient of x where it is wanted; else into memory that is dropped, for what `write` makes beside it. */
export function writeOrDrop(dX: GradientTarget, x: Tensor, write: (target: Tensor, accumulate: boolean) => void): void {
  if (dX.needed) dX.write(write)
  else write(Tensor.empty(x.shape, x), false)
}

/** Stores or adds gradient [1] · values. The gradient of a loss that is a root is 1; others cost a product of one row. */
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
