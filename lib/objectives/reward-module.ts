/** The option `rewards`: a module of a user's that exports rewards, and what a model is trained with beside them. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { InputError, UsageError } from '../common/errors.js'
import type { GrpoOptions } from './grpo.js'
import type { Reward } from './rewards.js'

/**
 * Loads a module: each function that it exports is a reward of that name, but for `environment`; `tools` are functions for the model.
 * TypeScript is read on every version of Node.js. The module's code runs in this process.
 * @throws UsageError `missing-file`
 * @throws InputError `malformed-module` if it cannot be run, or exports no reward
 */
export async function loadRewards(path: string): Promise<Pick<GrpoOptions, 'rewards' | 'tools' | 'environment'>> {
  if (!existsSync(path)) throw new UsageError('missing-file', `There is no file ${path} of rewards.`)
  const exported = await imported(path).catch((cause: unknown) => {
    const why = cause instanceof Error ? cause.message.split('\n')[0] : String(cause)
    throw new InputError('malformed-module', `The rewards ${path} cannot be run: ${why}`, { cause })
  })
  const { tools, environment, ...others } = exported as Partial<GrpoOptions> & Record<string, unknown>
  const rewards = Object.entries(others).filter(([, value]) => typeof value === 'function') as [string, Reward][]
  if (rewards.length === 0) {
    throw new InputError(
      'malformed-module',
      `The rewards ${path} export no function, such as: export const short = ({ completion }) => -completion.length`,
    )
  }
  return { rewards: Object.fromEntries(rewards), ...(tools && { tools }), ...(environment && { environment }) }
}

async function imported(path: string): Promise<object> {
  const url = pathToFileURL(resolve(path)).href
  if (!/\.[cm]?tsx?$/.test(path)) return import(url)
  const { createJiti } = await import('jiti')
  return createJiti(import.meta.url).import(url)
}
