/**
 * MoRA's operators as their definition has them (paper, Eq. 4, 6, 8, 9 and Appendix B): every term of an element of the
 * expanded ΔW [d, k]. All references of the operations and of the adapters use these.
 */
import type { Grouping, SectionPlan } from '../../lib/native/addon.js'
import { Host } from './host.js'

/** Columns of the input side: index of a virtual column's group, for every virtual column. */
export function groupsOf({ kind, wrap, width, side }: Grouping): { column: number; group: number }[] {
  if (kind === 'runs') {
    const [length, longer] = [Math.floor(width / side), width % side]
    const groups = Array.from({ length: side }, (_, g) => new Array<number>(length + (g < longer ? 1 : 0)).fill(g))
    return groups.flat().map((group, column) => ({ column, group }))
  }
  const extent = wrap ? Math.ceil(width / side) * side : width
  return Array.from({ length: extent }, (_, v) => ({ column: v % width, group: v % side }))
}

/** y[output] += folded[section][row][column] · x[input] */
export interface SectionTerm {
  output: number
  input: number
  section: number
  row: number
  column: number
}

/** Every term of rotation, decoupling or truncation; x̃ repeats x, results are cut, tiled or folded. */
export function sectionTerms({ inFeatures, outFeatures, side, truncate, foldOutput }: SectionPlan): SectionTerm[] {
  const terms: SectionTerm[] = []
  const sections = truncate ? 1 : Math.ceil(inFeatures / side)
  const whole = sections * side
  const rowOf = (position: number, output: number) => {
    const [section, row] = [Math.floor(position / side), position % side]
    for (let column = 0; column < side; column++) {
      const input = section * side + column
      if (truncate && input >= inFeatures) continue
      terms.push({ output, input: input % inFeatures, section, row, column })
    }
  }
  if (foldOutput && whole > outFeatures) {
    for (let position = 0; position < whole; position++) rowOf(position, position % outFeatures)
    return terms
  }
  for (let output = 0; output < outFeatures; output++) {
    if (truncate && output >= side) break
    rowOf(output % whole, output)
  }
  return terms
}

/** Rotation of section b as a matrix [R, R]: out_j = x_j cos - x_{j+R/2} sin, out_{j+R/2} = x_{j+R/2} cos + x_j sin. */
export function rotationOf(section: number, { side, rotate }: Pick<SectionPlan, 'side' | 'rotate'>): Host {
  const half = side / 2
  return Host.of([side, side], (i, j) => {
    if (!rotate) return i === j ? 1 : 0
    if (i % half !== j % half) return 0
    const angle = section * 10000 ** ((-2 * (i % half)) / side)
    if (i === j) return Math.cos(angle)
    return i < half ? -Math.sin(angle) : Math.sin(angle)
  })
}

/** Where row j and column j of a rotation are not zero. */
export const rotatedWith = (j: number, { side, rotate }: Pick<SectionPlan, 'side' | 'rotate'>): number[] =>
  rotate ? [j, (j + side / 2) % side] : [j]

/** M R_b of the first `count` sections, [count, R, R]. */
export function foldedOf(plan: Pick<SectionPlan, 'side' | 'rotate'>, matrix: Host, count: number): Host {
  const { side } = plan
  const rotations = Array.from({ length: count }, (_, b) => rotationOf(b, plan))
  const partners = Array.from({ length: side }, (_, j) => rotatedWith(j, plan))
  return Host.of([count, side, side], (b, i, j) =>
    partners[j]!.reduce((total, l) => total + matrix.at(i, l) * rotations[b]!.at(l, j), 0),
  )
}

/** ΔW [d, k] of rotation, decoupling or truncation. */
export function deltaOfSections(plan: SectionPlan, matrix: Host): Host {
  const terms = sectionTerms(plan)
  const folded = foldedOf(plan, matrix, 1 + Math.max(0, ...terms.map(({ section }) => section)))
  const delta = new Host([plan.outFeatures, plan.inFeatures])
  for (const { output, input, section, row, column } of terms) delta.add(folded.at(section, row, column), output, input)
  return delta
}

/** ΔW [d, k] of the sharing operators. */
export function deltaOfGroups(input: Grouping, output: Grouping, matrix: Host): Host {
  const delta = new Host([output.width, input.width])
  const columns = groupsOf(input)
  for (const { column: row, group } of groupsOf(output)) {
    for (const { column, group: from } of columns) delta.add(matrix.at(group, from), row, column)
  }
  return delta
}
