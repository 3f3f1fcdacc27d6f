import { type BlockPlan, type FloatDType, type Grouping, native } from '../../native.js'
import { type Destination, destinationOr } from '../destination.js'
import { writeByAdding } from '../gradient-writes.js'
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

/** The scaled matrix with each live block's rotation folded in, W_b = s M R_b: [n, R, R]. Made once per change of M. */
function foldedBlocks(plan: BlockPlan, matrix: Parameter, dtype: FloatDType, scale: number): Tensor {
  return matrix.derived(`blocks ${dtype} ${scale}`, () => foldBlocks(plan, matrix.as('float32', scale), dtype))
}

export function foldBlocks(plan: BlockPlan, matrix: Tensor, dtype: FloatDType): Tensor {
  const folded = Tensor.empty([liveBlocks(plan), plan.side, plan.side], { device: matrix.device, dtype })
  native.foldBlocks(plan, matrix.native, folded.native)
  return folded
}

/** Rotation, decoupling and truncation: x [T, k] → [T, d] through M [R, R] (paper, Eq. 9, 8 and 4), in place in x and y. */
export function blocks(x: Tensor, matrix: Parameter, plan: BlockPlan, scale = 1, into?: Destination): Tensor {
  const dtype = x.dtype as FloatDType
  const { target: y, accumulate } = destinationOr(into, [x.shape[0]!, plan.outFeatures], x)
  native.blocksForward(plan, x.native, foldedBlocks(plan, matrix, dtype, scale).native, y.native, accumulate)
  return record(y, [x, matrix], [x], (dY, [input], [dX, dMatrix]) => {
    dX!.write((target, add) => {
      native.blocksBackwardInput(plan, dY.native, foldedBlocks(plan, matrix, dtype, scale).native, target.native, add)
    })
    const dFolded = Tensor.empty([liveBlocks(plan), plan.side, plan.side], { device: x.device })
    native.blocksBackwardWeight(plan, input!.native, dY.native, dFolded.native)
    writeByAdding(dMatrix!, (target) => {
      if (scale === 1) return native.unfoldBlocks(plan, dFolded.native, target.native)
      const unscaled = Tensor.zeros(target.shape, { device: x.device })
      native.unfoldBlocks(plan, dFolded.native, unscaled.native)
      native.add(unscaled.native, target.native, scale)
    })
  })
}

/** Blocks whose output is kept; see native/mora/geometry.h. */
export function liveBlocks({ inFeatures, outFeatures, side, truncate, foldOutput }: BlockPlan): number {
  if (truncate) return 1
  const all = Math.ceil(inFeatures / side)
  return foldOutput ? all : Math.min(all, Math.ceil(outFeatures / side))
}
