/** The built-in objectives, in the order of help: a new one is a file beside these and its line here. */
import { UsageError } from '../common/errors.js'
import { classifyObjective } from './classify.js'
import { cpoObjective } from './cpo.js'
import { crossEntropyObjective } from './cross-entropy.js'
import { dft } from './dft.js'
import { distillObjective } from './distill.js'
import { dpoObjective } from './dpo.js'
import { embedObjective } from './embed.js'
import { grpoObjective } from './grpo.js'
import { ktoObjective } from './kto.js'
import type { BuiltInObjective, Objective } from './objective.js'
import { orpoObjective } from './orpo.js'
import { rewardObjective } from './reward.js'
import { simpoObjective } from './simpo.js'

const BUILT_IN_OBJECTIVES = [
  crossEntropyObjective,
  dft,
  distillObjective,
  dpoObjective,
  ktoObjective,
  orpoObjective,
  simpoObjective,
  cpoObjective,
  grpoObjective,
  rewardObjective,
  classifyObjective,
  embedObjective,
] as const

/** The name of a built-in objective. */
export type ObjectiveName = (typeof BUILT_IN_OBJECTIVES)[number]['name']

const [first, ...others] = BUILT_IN_OBJECTIVES.map(({ name }) => name)
/** The names that `--objective` takes; the first is the default. */
export const OBJECTIVES = [first!, ...others] as const

/** What each of them is, for help. */
export const objectivesHelp = BUILT_IN_OBJECTIVES.map(({ name, help }) => `${name} ${help}`).join(', ')

/** Returns a built-in objective. */
export function objectiveNamed(name: ObjectiveName): BuiltInObjective {
  return BUILT_IN_OBJECTIVES.find((objective) => objective.name === name)!
}

/**
 * Returns the record of a built-in objective in `run.yaml`: its name and options; undefined for a name, or a custom objective.
 * @throws UsageError `bad-value` for a custom objective with the name of a built-in one
 */
export function builtInChoice(objective: ObjectiveName | Objective | undefined): object | undefined {
  if (typeof objective !== 'object' || !OBJECTIVES.some((known) => known === objective.name)) return undefined
  const { name, options } = objective
  if (options) return { objective: name, ...options }
  throw new UsageError('bad-value', `There is an objective ${name} already; give yours another name.`)
}
