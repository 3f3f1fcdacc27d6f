/** ReMoRA and ReLoRA: the adapter is merged for good every so many steps, and starts again. */
import type { AdapterConfigBase } from '../adapters/adapter.js'
import type { MoraConfig } from '../adapters/mora.js'
import type { PermutationKey } from '../adapters/permutation.js'
import { UsageError } from '../errors.js'
import { type Operator, operatorCycle, type TrainOptions } from '../options/index.js'
import { streamKey } from '../random.js'
import type { MergeEvent } from './events.js'
import { writeMerge } from './merges.js'
import type { Session } from './session.js'

/** What an adapter is after each of its restarts. */
export interface RestartPlan {
  /** Name of the adapter. */
  readonly adapter: string
  /** Optimizer steps between restarts. */
  readonly every: number
  /** As run.yaml records it, beside the adapter's own options. */
  readonly options: { readonly cycle?: readonly Operator[]; readonly regroup?: TrainOptions['regroup'] }
  /** The adapter after so many restarts, and the seed of its initial values. */
  after(restarts: number): { config: AdapterConfigBase; seed: number }
}

type RestartOptions = Pick<TrainOptions, 'mergeEvery' | 'cycle' | 'regroup' | 'operator' | 'seed'>

/** The permutation of a new adapter's inputs and outputs; those of its restarts follow. */
export function permutationOf(
  { regroup, seed }: Pick<TrainOptions, 'regroup' | 'seed'>,
  cycle: number,
): PermutationKey | null {
  return regroup === 'permute' ? { seed, cycle } : null
}

/**
 * The restarts that options ask for, or null. MoRA takes the next operator of the cycle each time (MoRA, arXiv
 * 2405.12130, section 5.3 and Appendix B) and, with `regroup: 'permute'`, another permutation; LoRA draws another A
 * (ReLoRA, arXiv 2307.05695). `config` is the adapter as the run begins.
 */
export function restartPlan(adapter: string, config: AdapterConfigBase, options: RestartOptions): RestartPlan | null {
  const { mergeEvery: every, seed } = options
  if (every === undefined) return null
  const seedAfter = (restarts: number) => streamKey(seed, 'restart', restarts)[0]
  if (config.method === 'lora') {
    for (const name of ['cycle', 'regroup'] as const) {
      if (options[name] === undefined) continue
      throw new UsageError('unfit-options', `The option ${name} does not go with method lora: it is an option of mora.`)
    }
    return { adapter, every, options: {}, after: (restarts) => ({ config, seed: seedAfter(restarts) }) }
  }
  if (config.method !== 'mora') {
    throw new UsageError(
      'unfit-options',
      `The option mergeEvery does not go with method ${config.method}: it is an option of mora and lora.`,
    )
  }
  const first = config as MoraConfig
  const cycle = cycleOf(first, options)
  const start = cycle.indexOf(first.operator)
  return {
    adapter,
    every,
    options: { cycle, regroup: options.regroup ?? 'cycle' },
    after(restarts) {
      const operator = cycle[(start + restarts) % cycle.length]!
      const next: MoraConfig = { ...first, operator, permutation: permutationOf(options, restarts) }
      return { config: next, seed: seedAfter(restarts) }
    },
  }
}

/** The operators in turn, of which the adapter's is one: a file's operator counts as given where the default has another. */
function cycleOf({ operator }: MoraConfig, options: RestartOptions): readonly Operator[] {
  const cycle = operatorCycle(options)
  if (cycle.includes(operator)) return cycle
  if (options.cycle === undefined) return [operator]
  throw new UsageError(
    'unfit-options',
    `The adapter's operator ${operator} is not among the operators of the option cycle (${cycle.join(', ')}).`,
  )
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
