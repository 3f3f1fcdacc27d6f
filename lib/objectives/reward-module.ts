/** The option `rewards`: a module of a user's that exports rewards, and what a model is trained with beside them. */
import { InputError } from '../common/errors.js'
import { importModule } from '../common/user-module.js'
import type { GrpoOptions } from './grpo.js'
import type { Reward } from './rewards.js'

/**
 * Loads a module: each function that it exports is a reward of that name, but for `environment`; `tools` are functions for the model.
 * The module's code runs in this process.
 * @throws UsageError `missing-file`
 * @throws InputError `malformed-module` if it cannot be run, or exports no reward
 */
export async function loadRewards(path: string): Promise<Pick<GrpoOptions, 'rewards' | 'tools' | 'environment'>> {
  const { tools, environment, ...others } = (await importModule(path, 'rewards')) as Partial<GrpoOptions> &
    Record<string, unknown>
  const rewards = Object.entries(others).filter(([, value]) => typeof value === 'function') as [string, Reward][]
  if (rewards.length === 0) {
    throw new InputError(
      'malformed-module',
      `The rewards ${path} export no function, such as: export const short = ({ completion }) => -completion.length`,
    )
  }
  return { rewards: Object.fromEntries(rewards), ...(tools && { tools }), ...(environment && { environment }) }
}
