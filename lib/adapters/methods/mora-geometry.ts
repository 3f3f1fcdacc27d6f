import type { Grouping, SectionPlan } from '../../native/addon.js'
import type { Operator } from './mora-operators.js'

/** The compression of k inputs to R values and the decompression of R values to d outputs: groups, or a plan of sections. */
export type MoraGeometry =
  | { kind: 'groups'; input: Grouping; output: Grouping }
  | { kind: 'sections'; plan: SectionPlan }

export function moraGeometry(
  operator: Operator,
  inFeatures: number,
  outFeatures: number,
  side: number,
  foldOutput = false,
): MoraGeometry {
  const groups = (kind: 'tile' | 'runs', width: number, wrap: boolean): Grouping => ({ kind, wrap, width, side })
  const inRuns = operator === 'sharing-grouped' || operator === 'sharing-grouped-in'
  const outRuns = operator === 'sharing-grouped' || operator === 'sharing-grouped-out'
  if (operator.startsWith('sharing')) {
    const input = inRuns ? groups('runs', inFeatures, false) : groups('tile', inFeatures, true)
    return { kind: 'groups', input, output: groups(outRuns ? 'runs' : 'tile', outFeatures, false) }
  }
  const rotate = operator === 'rotation'
  const truncate = operator === 'truncation'
  return { kind: 'sections', plan: { inFeatures, outFeatures, side, rotate, truncate, foldOutput } }
}
