import { type FloatDType, type Grouping, native, type SectionPlan } from '../../native/addon.js'
import { type Destination, destinationOr } from '../destination.js'
import { writeMultiple } from '../gradient-writes.js'
import type { Parameter } from '../parameter.js'
import { scope } from '../scope.js'
import { record } from '../tape.js'
import { type GradientTarget, Tensor } from '../tensor.js'
import { factor } from './linear.js'

/**
 * Compression of the sharing operators: x [T, width] → sums of its groups [T, R] (paper, Eq. 6 and Appendix B), with zeros up
 * to `columns`.
 */
export function groupSum(x: Tensor, grouping: Grouping, columns = grouping.side): Tensor {
  const { side } = grouping
  const z = Tensor.empty([x.shape[0]!, columns], x)
  inColumns(z, side, (sums) => native.groupSum(grouping, x.native, sums.native, false))
  clearFrom(z, side)
  return record(z, [x], [], (dZ, _, [dX]) => {
    dX!.write((target, accumulate) =>
      inColumns(dZ, side, (sums) => native.groupSpread(grouping, sums.native, target.native, accumulate)),
    )
  })
}

/** Decompression of the sharing operators: copies each of the first R columns of z to the columns of its group, [T, width]. */
export function groupSpread(z: Tensor, grouping: Grouping, into?: Destination): Tensor {
  const { side, width } = grouping
  const { target: y, accumulate } = destinationOr(into, [z.shape[0]!, width], z)
  inColumns(z, side, (values) => native.groupSpread(grouping, values.native, y.native, accumulate))
  return record(y, [z], [], (dY, _, [dZ]) => {
    dZ!.write((target, add) => {
      inColumns(target, side, (sums) => native.groupSum(grouping, dY.native, sums.native, add))
      if (!add) clearFrom(target, side)
    })
  })
}

/** Returns M [R, R] in the corner of zeros [W, W], in a dtype; converted once per change. */
export function wideMatrix(matrix: Parameter, width: number, dtype: FloatDType): Tensor {
  const side = matrix.shape[0]!
  if (width === side) return matrix.as(dtype)
  return matrix.derived(`${dtype} in ${width}`, () => {
    const values = Tensor.zeros([width, width], { device: matrix.device, dtype })
    inCorner(values, side, (corner) => native.copy(matrix.native, corner.native, 1))
    return values
  })
}

/**
 * scale · z Mᵀ [T, W] for z [T, W] and M [R, R]. Columns past R are zeros, in z and in the result. The same as `factor` if W
 * is R.
 */
export function squareFactor(z: Tensor, matrix: Parameter, scale: number): Tensor {
  const [side, width] = [matrix.shape[0]!, z.shape[1]!]
  if (width === side) return factor(z, matrix, scale)
  const wide = wideMatrix(matrix, width, z.dtype as FloatDType)
  const y = Tensor.empty(z.shape, z)
  native.matmul({ a: z.native, b: wide.native, transposeB: true, c: y.native, alpha: scale })
  return record(y, [z, matrix], [z, wide], (dY, [input, weight], [dZ, dMatrix]) => {
    dZ!.write((target, add) =>
      native.matmul({ a: dY.native, b: weight!.native, c: target.native, alpha: scale, accumulate: add }),
    )
    if (!dMatrix!.needed) return
    const whole = Tensor.empty([width, width], { device: dY.device })
    native.matmul({ a: dY.native, transposeA: true, b: input!.native, c: whole.native, alpha: scale })
    inCorner(whole, side, (corner) => writeMultiple(dMatrix!, 1, corner))
  })
}

/**
 * Returns the number of columns of z for activations like x: R, or, for 16-bit matrices on a GPU unless R is small, its next
 * multiple of 8, since a GPU reads at full rate only from 16-byte boundaries.
 */
export function alignedSide({ side }: Grouping, { device, dtype }: Tensor): number {
  const fewest = 192
  return device.kind === 'cuda' && dtype !== 'float32' && side >= fewest ? Math.ceil(side / 8) * 8 : side
}

function inColumns(matrix: Tensor, count: number, use: (columns: Tensor) => void): void {
  const columns = matrix.columns(0, count)
  use(columns)
  columns.dispose()
}

function inCorner(matrix: Tensor, side: number, use: (corner: Tensor) => void): void {
  const rows = matrix.rows(0, side)
  inColumns(rows, side, use)
  rows.dispose()
}

function clearFrom(matrix: Tensor, column: number): void {
  if (column === matrix.shape[1]) return
  const rest = matrix.columns(column, matrix.shape[1]!)
  native.fill(rest.native, 0)
  rest.dispose()
}

/** Permutes columns: column c of y is column order[c] of x; `inverse` is the inverse permutation ([width] int32 each). */
export function gatherColumns(
  x: Tensor,
  { order, inverse }: { order: Tensor; inverse: Tensor },
  into?: Destination,
): Tensor {
  const { target: y, accumulate } = destinationOr(into, x.shape, x)
  native.gatherColumns(x.native, order.native, y.native, accumulate)
  return record(y, [x], [inverse], (dY, [back], [dX]) => {
    dX!.write((target, add) => native.gatherColumns(dY.native, back!.native, target.native, add))
  })
}

/**
 * Returns the scaled matrix with each live section's rotation folded in, W_b = s M R_b: [n, W, W]. Made for one product: the
 * matrices of all layers would take R / d of the model's memory.
 */
function foldedSections(plan: SectionPlan, matrix: Parameter, { dtype }: Tensor, scale: number): Tensor {
  return foldSections(plan, matrix.as('float32', scale), dtype as FloatDType)
}

/** Returns M R_b of every live section for activations of `dtype`, [n, W, W]: W is R, or the window that the device reads. */
export function foldSections(plan: SectionPlan, matrix: Tensor, dtype: FloatDType): Tensor {
  const { device } = matrix
  const side = native.foldedSide(plan, dtype, device)
  const folded = Tensor.empty([liveSections(plan), side, side], { device, dtype })
  native.foldSections(plan, matrix.native, folded.native)
  return folded
}

/** Rotation, decoupling and truncation: x [T, k] → [T, d] through M [R, R] (paper, Eq. 9, 8 and 4), without copies of x or y. */
export function sections(x: Tensor, matrix: Parameter, plan: SectionPlan, scale = 1, into?: Destination): Tensor {
  const { target: y, accumulate } = destinationOr(into, [x.shape[0]!, plan.outFeatures], x)
  scope(() =>
    native.sectionsForward(plan, x.native, foldedSections(plan, matrix, x, scale).native, y.native, accumulate),
  )
  return record(y, [x, matrix], [x], (dY, [input], [dX, dMatrix]) => {
    const once = dX!.needed && dMatrix!.needed ? sumRepeats(plan, dY) : { plan, dY }
    dX!.write((target, add) => {
      const folded = foldedSections(plan, matrix, once.dY, scale).native
      native.sectionsBackwardInput(once.plan, once.dY.native, folded, target.native, add)
    })
    sectionsMatrixGradient(once.plan, input!, once.dY, scale, dMatrix!)
  })
}

/** Sums the gradient over repeated outputs once for both products, and returns the plan without the repetition. */
function sumRepeats(plan: SectionPlan, dY: Tensor): { plan: SectionPlan; dY: Tensor } {
  const { inFeatures, outFeatures, side, truncate } = plan
  const distinct = Math.ceil(inFeatures / side) * side
  if (truncate || distinct >= outFeatures) return { plan, dY }
  // Windows of outputs end with a whole cell of 8 columns, padded with zeros.
  const windowed = native.foldedSide(plan, dY.dtype, dY.device) > side
  const columns = windowed ? Math.ceil(distinct / 8) * 8 : distinct
  const sums = Tensor.empty([dY.shape[0]!, columns], dY)
  const grouping: Grouping = { kind: 'tile', wrap: false, width: outFeatures, side: distinct }
  native.groupSum(grouping, dY.native, sums.columns(0, distinct).native, false)
  if (columns > distinct) native.fill(sums.columns(distinct, columns).native, 0)
  return { plan: { ...plan, outFeatures: distinct }, dY: sums }
}

/** Writes dM of `sections` from x [T, k] and dY [T, d]. */
export function sectionsMatrixGradient(
  plan: SectionPlan,
  x: Tensor,
  dY: Tensor,
  scale: number,
  dMatrix: GradientTarget,
): void {
  const { device } = x
  const side = native.foldedSide(plan, x.dtype, device)
  const dFolded = Tensor.empty([liveSections(plan), side, side], { device })
  native.sectionsBackwardWeight(plan, x.native, dY.native, dFolded.native)
  if (scale === 1) {
    dMatrix.write((target, add) => native.unfoldSections(plan, dFolded.native, target.native, add))
    return
  }
  const unscaled = Tensor.empty([plan.side, plan.side], { device })
  native.unfoldSections(plan, dFolded.native, unscaled.native, false)
  writeMultiple(dMatrix, scale, unscaled)
}

/** Number of sections whose output is kept; see native/mora/geometry.h. */
export function liveSections({ inFeatures, outFeatures, side, truncate, foldOutput }: SectionPlan): number {
  if (truncate) return 1
  const all = Math.ceil(inFeatures / side)
  return foldOutput ? all : Math.min(all, Math.ceil(outFeatures / side))
}
