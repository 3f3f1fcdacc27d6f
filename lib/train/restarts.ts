/** ReMoRA and ReLoRA: the adapter is merged for good every so many steps, and starts again. */

import type { AdapterConfigBase, RestartOptions } from '../adapters/contract/adapter.js'
import { adapterMethod, restartingMethods } from '../adapters/registry.js'
import { UsageError } from '../errors.js'
import { streamKey } from '../random.js'
import { writeMerge } from './checkpoints/merge-folders.js'
import type { MergeEvent } from './events.js'
import type { RestartPlan } from './restart-plan.js'
import type { Session } from './session.js'

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

/** Whether the next step is to be taken by a fresh adapter. At the end of a run there is none, so nothing is merged. */
export function restartIsDue({ restarts, state }: Session): boolean {
  return restarts !== null && state.step > 0 && state.step % restarts.every === 0 && state.mergedAt !== state.step
}

/**
 * Merges the adapter and starts it again, with fresh moments for its new tensors alone. What was merged is written first,
 * so that a resumed run can repeat it.
 */
export async function restartAdapter(session: Session): Promise<MergeEvent> {
  const { model, output, state } = session
  const restarts = session.restarts!
  const { adapter } = restarts
  const merges = state.merges + 1
  if (output)
    await writeMerge(output.merges, merges, (folder) => model.saveAdapter(adapter, folder, { modules: false }))
  await model.restartAdapter(adapter, restarts.after(merges))
  session.parameters = model.trainableParameters().map(({ parameter }) => parameter)
  session.optimizer.setParameters(session.parameters)
  session.state = { ...state, merges, mergedAt: state.step }
  return { type: 'merge', step: state.step, merges }
}
