/** For kernels that cannot choose between storing a gradient and adding to one, as `GradientTarget.write` asks. */
import { type NativeTensor, native } from '../native.js'
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
