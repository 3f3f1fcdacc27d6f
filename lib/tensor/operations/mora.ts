import { type BlockPlan, type FloatDType, type Grouping, native } from '../../native.js'
import { type Destination, destinationOr } from '../destination.js'
import type { Parameter } from '../parameter.js'
import { record } from '../tape.js'
import { Tensor } from '../tensor.js'

/** Compression of the sharing operators: x [T, width] → sums of its groups [T, R] (paper, Eq. 6 and Appendix B). */
export function groupSum(x: Tensor, grouping: Grouping): Tensor {
  const z = Tensor.empty([x.shape[0]!, grouping.side], x)
  native.groupSum(grouping, x.native, z.native, false)
  return record(z, [x], [], (dZ, _, [dX]) => {
    dX!.write((target, accumulate) => native.groupSpread(grouping, dZ.native, target.native, accumulate))
  })
}

/** Decompression of the sharing operators: z [T, R] → every column its group's value [T, width]. */
export function groupSpread(z: Tensor, grouping: Grouping, into?: Destination): Tensor {
  const { target: y, accumulate } = destinationOr(into, [z.shape[0]!, grouping.width], z)
  native.groupSpread(grouping, z.native, y.native, accumulate)
  return record(y, [z], [], (dY, _, [dZ]) => {
    dZ!.write((target, add) => native.groupSum(grouping, dY.native, target.native, add))
  })
}

/** The matrix with each live block's rotation folded in, W_b = M R_b: [n, R, R]. Made once per change of M. */
export function foldedBlocks(plan: BlockPlan, matrix: Parameter, dtype: FloatDType): Tensor {
  return matrix.derived(`blocks ${dtype}`, () => foldBlocks(plan, matrix, dtype))
}

export function foldBlocks(plan: BlockPlan, matrix: Tensor, dtype: FloatDType): Tensor {
  const folded = Tensor.empty([liveBlocks(plan), plan.side, plan.side], { device: matrix.device, dtype })
  native.foldBlocks(plan, matrix.native, folded.native)
  return folded
}

/** Rotation, decoupling and truncation: x [T, k] → [T, d] through M [R, R] (paper, Eq. 9, 8 and 4), in place in x and y. */
export function blocks(x: Tensor, matrix: Parameter, plan: BlockPlan, into?: Destination): Tensor {
  const dtype = x.dtype as FloatDType
  const { target: y, accumulate } = destinationOr(into, [x.shape[0]!, plan.outFeatures], x)
  native.blocksForward(plan, x.native, foldedBlocks(plan, matrix, dtype).native, y.native, accumulate)
  return record(y, [x, matrix], [x], (dY, [input], [dX, dMatrix]) => {
    dX!.write((target, add) => {
      native.blocksBackwardInput(plan, dY.native, foldedBlocks(plan, matrix, dtype).native, target.native, add)
    })
    const dFolded = Tensor.empty([liveBlocks(plan), plan.side, plan.side], { device: x.device })
    native.blocksBackwardWeight(plan, input!.native, dY.native, dFolded.native)
    dMatrix!.write((target, add) => {
      if (!add) native.fill(target.native, 0)
      native.unfoldBlocks(plan, dFolded.native, target.native)
    })
  })
}

/** Blocks whose output is kept; see native/mora/geometry.h. */
export function liveBlocks({ inFeatures, outFeatures, side, truncate, foldOutput }: BlockPlan): number {
  if (truncate) return 1
  const all = Math.ceil(inFeatures / side)
  return foldOutput ? all : Math.min(all, Math.ceil(outFeatures / side))
}
