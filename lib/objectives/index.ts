/** The built-in objectives, in the order of help: a new one is a file beside these and its line here. */
import { UsageError } from '../common/errors.js'
import { crossEntropyObjective } from './cross-entropy.js'
import { dft } from './dft.js'
import type { Objective } from './objective.js'

const BUILT_IN_OBJECTIVES = [crossEntropyObjective, dft] as const

/** The name of a built-in objective. */
export type ObjectiveName = (typeof BUILT_IN_OBJECTIVES)[number]['name']

const [first, ...others] = BUILT_IN_OBJECTIVES.map(({ name }) => name)
/** The names that `--objective` takes; the first is the default. */
export const OBJECTIVES = [first!, ...others] as const

/** What each of them is, for help. */
export const objectivesHelp = BUILT_IN_OBJECTIVES.map(({ name, help }) => `${name} ${help}`).join(', ')

/** Returns a built-in objective. */
export function objectiveNamed(name: ObjectiveName): Objective {
  return BUILT_IN_OBJECTIVES.find((objective) => objective.name === name)!
}

/** Throws a UsageError `bad-value` if an objective of one's own has the name of a built-in one. */
export function requireOwnName({ name }: Objective): void {
  if (!OBJECTIVES.some((known) => known === name)) return
  throw new UsageError('bad-value', `There is an objective ${name} already; give yours another name.`)
}
