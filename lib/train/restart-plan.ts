/** The restarts of ReMoRA and ReLoRA that options ask for. */

import type { AdapterConfigBase, RestartOptions } from '../adapters/contract/adapter.js'
import { adapterMethod, restartingMethods } from '../adapters/registry.js'
import { UsageError } from '../errors.js'
import { streamKey } from '../random.js'

/** What an adapter is after each of its restarts. */
export interface RestartPlan {
  /** Name of the adapter. */
  readonly adapter: string
  /** Optimizer steps between restarts. */
  readonly every: number
  /** As run.yaml records it, beside the adapter's own options. */
  readonly options: Readonly<Record<string, unknown>>
  /** The adapter after so many restarts, and the seed of its initial values. */
  after(restarts: number): { config: AdapterConfigBase; seed: number }
}

/** The restarts that options ask for, or null. `config` is the adapter as the run begins. */
export function restartPlan(adapter: string, config: AdapterConfigBase, options: RestartOptions): RestartPlan | null {
  const { mergeEvery: every, seed } = options
  if (every === undefined) return null
  const { restart } = adapterMethod(config.method)
  const refuse = (option: string, able: readonly string[]) =>
    new UsageError(
      'unfit-options',
      `The option ${option} does not go with method ${config.method}: it is an option of ${able.join(' and ')}.`,
    )
  if (!restart) throw refuse('mergeEvery', restartingMethods())
  for (const name of ['cycle', 'regroup'] as const) {
    if (options[name] !== undefined && !restart.options?.includes(name)) throw refuse(name, restartingMethods(name))
  }
  const plan = restart.plan(config, options)
  return {
    adapter,
    every,
    options: plan.options ?? {},
    after: (restarts) => ({ config: plan.after(restarts), seed: streamKey(seed, 'restart', restarts)[0] }),
  }
}
