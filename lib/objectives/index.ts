/** The built-in objectives, in the order of help: a new one is a file beside these and its line here. */
import { classifyObjective } from './classify.js'
import { cpoObjective } from './cpo.js'
import { sftObjective } from './cross-entropy.js'
import { dftObjective } from './dft.js'
import { distillObjective } from './distill.js'
import { dpoObjective } from './dpo.js'
import { embedObjective } from './embed.js'
import { grpoObjective } from './grpo.js'
import { ktoObjective } from './kto.js'
import type { BuiltInObjective } from './objective.js'
import { orpoObjective } from './orpo.js'
import { rewardObjective } from './reward.js'
import { simpoObjective } from './simpo.js'

export const BUILT_IN_OBJECTIVES = [
  sftObjective,
  dftObjective,
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

/** Returns a built-in objective; undefined for the name of a custom one. */
export function objectiveNamed(name: string): BuiltInObjective | undefined {
  return BUILT_IN_OBJECTIVES.find((objective) => objective.name === name)
}
