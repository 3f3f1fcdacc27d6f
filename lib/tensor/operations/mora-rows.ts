/** Rotation, decoupling and truncation for a few rows without gradients: M is read once for all sections of a row. */
import { type Grouping, native, type SectionPlan } from '../../native/addon.js'
import { type Destination, destinationOr } from '../destination.js'
import { scope } from '../scope.js'
import { Tensor } from '../tensor.js'
import { liveSections } from './mora.js'

/** The angles of the sections of a rotation. */
export interface SectionAngles {
  /** 0, 1, …, n - 1 as [n] int32. */
  readonly sections: Tensor
  /** [n, R / 2] */
  readonly cosines: Tensor
  /** [n, R / 2] */
  readonly sines: Tensor
}

/** Returns the angles b · 10000^(-2j / R) of pair j in each live section b. */
export function sectionAngles(plan: SectionPlan, like: Pick<Tensor, 'device'>): SectionAngles {
  const { device } = like
  const [count, half] = [liveSections(plan), plan.side / 2]
  const table = (of: (angle: number) => number) => {
    const values = Float32Array.from({ length: count * half }, (_, i) =>
      of(Math.floor(i / half) * 10000 ** ((-2 * (i % half)) / plan.side)),
    )
    return Tensor.from(values, [count, half], { device })
  }
  const sections = Int32Array.from({ length: count }, (_, section) => section)
  return {
    sections: Tensor.from(sections, [count], { device, dtype: 'int32' }),
    cosines: table(Math.cos),
    sines: table(Math.sin),
  }
}

/** Returns the live sections of x [T, k], rotated by their angles: [T, n R]. The last section continues with the start of x. */
export function sectionRows(x: Tensor, plan: SectionPlan, angles: SectionAngles | null): Tensor {
  const { inFeatures, side, truncate } = plan
  const count = liveSections(plan)
  const width = count * side
  const rows = x.shape[0]!
  const z = Tensor.empty([rows, width], x)
  scope(() => {
    if (truncate && inFeatures < side) {
      native.fill(z.columns(inFeatures, side).native, 0)
      z.columns(0, inFeatures).copyFrom(x)
    } else if (width <= inFeatures) {
      z.copyFrom(x.columns(0, width))
    } else {
      native.groupSpread({ kind: 'tile', wrap: false, width, side: inFeatures }, x.native, z.native, false)
    }
    if (!angles) return
    // A section is a token of as many heads as there are rows.
    const heads = z.view([count, rows, side], [side, width, 1])
    native.rope(heads.native, angles.sections.native, angles.cosines.native, angles.sines.native, false)
  })
  return z
}

/** Writes (or adds) the outputs y [T, d] of the products [T, n R] of sections: repeated, cut, or folded. */
export function sectionOutputs(products: Tensor, plan: SectionPlan, into?: Destination): Tensor {
  const { outFeatures, foldOutput, truncate } = plan
  const { target: y, accumulate } = destinationOr(into, [products.shape[0]!, outFeatures], products)
  const width = products.shape[1]!
  const distinct = Math.min(width, outFeatures)
  const grouping = (over: number, side: number): Grouping => ({ kind: 'tile', wrap: false, width: over, side })
  scope(() => {
    if (foldOutput && width > outFeatures) {
      native.groupSum(grouping(width, outFeatures), products.native, y.native, accumulate)
      return
    }
    const own = products.columns(0, distinct).native
    if (!truncate) {
      native.groupSpread(grouping(outFeatures, distinct), own, y.native, accumulate)
      return
    }
    native.groupSpread(grouping(distinct, distinct), own, y.columns(0, distinct).native, accumulate)
    if (!accumulate && distinct < outFeatures) native.fill(y.columns(distinct, outFeatures).native, 0)
  })
  return y
}
