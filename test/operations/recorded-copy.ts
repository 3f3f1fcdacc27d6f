import { native } from '../../lib/native/addon.js'
import { record } from '../../lib/tensor/tape.js'
import type { Tensor } from '../../lib/tensor/tensor.js'

/** Copies `source` into `target` on the tape, which makes it a tensor like an operation's result. */
export function recordedCopy(source: Tensor, target: Tensor): Tensor {
  native.copy(source.native, target.native, 1)
  return record(target, [source], [], (gradient, _, [input]) => input!.pass(gradient))
}
