import { native } from '../../lib/native/addon.js'
import { record } from '../../lib/tensor/tape.js'
import type { Tensor } from '../../lib/tensor/tensor.js'

/** Copies `source` into `target`, on the tape: a tensor like one that an operation has made. */
export function recordedCopy(source: Tensor, target: Tensor): Tensor {
  native.copy(source.native, target.native, 1)
  return record(target, [source], [], (gradient, _, [input]) => input!.pass(gradient))
}
