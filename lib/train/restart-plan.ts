/** The restarts of ReMoRA and ReLoRA that options ask for. */

import type { AdapterConfigBase, RestartRunOptions } from '../adapters/contract/adapter.js'
import { adapterMethod } from '../adapters/registry.js'
import { UsageError } from '../common/errors.js'
import { TheOption } from '../common/option-names.js'
import { streamKey } from '../common/random.js'
import { methodsWithOption, restartOptions } from '../options/new-adapter.js'
import type { Parameter } from '../tensor/parameter.js'

/** The adapter after each of its restarts. */
export interface RestartPlan {
  /** Name of the adapter. */
  readonly adapter: string
  /** Optimizer steps between restarts. */
  readonly every: number
  /** Options for run.yaml, in addition to the adapter's own. */
  readonly options: Readonly<Record<string, unknown>>
  /** Names of the tensors that get their values at the start of the run again. */
  readonly restored: readonly string[]
  /** Returns the adapter after that many restarts, and the seed of its initial values. */
  after(restarts: number): { config: AdapterConfigBase; seed: number }
}

/** Returns the restarts that the options ask for, or null. `config` is the adapter at the start of the run. */
export function restartPlan(
  adapter: string,
  config: AdapterConfigBase,
  options: RestartRunOptions,
): RestartPlan | null {
  const { mergeEvery: every, seed } = options
  if (every === undefined) return null
  const { restart } = adapterMethod(config.method)
  for (const name of restartOptions) {
    const able = methodsWithOption(name)
    if (
      !Object.hasOwn(options, name) ||
      options[name as keyof RestartRunOptions] === undefined ||
      able.includes(config.method)
    )
      continue
    throw new UsageError(
      'unfit-options',
      `${TheOption(name)} does not go with method ${config.method}: it is an option of ${able.join(' and ')}.`,
    )
  }
  const plan = restart!.plan(config, options)
  return {
    adapter,
    every,
    options: plan.options ?? {},
    restored: plan.restored ?? [],
    after: (restarts) => ({ config: plan.after(restarts), seed: streamKey(seed, 'restart', restarts)[0] }),
  }
}

/** Returns the values that parameters get again at each restart, by name. Call it before the first step. */
export async function valuesToRestore(
  plan: RestartPlan | null,
  parameters: readonly Parameter[],
): Promise<ReadonlyMap<string, Float32Array>> {
  const restored = parameters.filter(({ name }) => plan?.restored.some((tensor) => name.endsWith(`.${tensor}`)))
  const entries = restored.map(async (parameter) => [parameter.name, (await parameter.data()) as Float32Array] as const)
  return new Map(await Promise.all(entries))
}
