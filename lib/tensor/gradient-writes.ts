/** For kernels that cannot choose between storing a gradient and adding to one, as `GradientTarget.write` asks. */
import { native } from '../native.js'
import type { GradientTarget } from './tape.js'
import { Tensor } from './tensor.js'

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
