/** Rewards: scores of completions by functions of the program that trains. */

import { TaskGroup, withDeadline } from '../common/cancellation.js'
import { RunError, UsageError } from '../common/errors.js'
import { reasonOfCaller } from '../common/foreign-errors.js'
import { theOption } from '../common/option-names.js'
import { plainCopy } from '../common/plain-copy.js'
import { inParallel } from '../common/task-limit.js'
import type { AnyRow } from '../rows/sources/source.js'
import type { Message } from '../text/template.js'
import type { Environment, Episode } from './episodes.js'

/** A completion to score; `Row` is the type of its prompt's row. */
export interface JudgedAnswer<Row = AnyRow> {
  /** The prompt as its row has it; of a conversation, the text of its last message. */
  readonly prompt: string
  /** The text of the model's last turn, without special tokens. */
  readonly completion: string
  /** All columns of the prompt's row. */
  readonly row: Row
  /** The messages after the prompt: one, or several with calls of functions and their results. */
  readonly messages: readonly Message[]
  /** Tokens after the prompt. */
  readonly ids: readonly number[]
  /** Whether the model ended the completion itself, below the limit of tokens. */
  readonly hasEnded: boolean
  /** The environment of the rollout, at its end. */
  readonly environment: Environment | undefined
  /** Aborted when the run stops waiting for the reward. */
  readonly signal: AbortSignal | undefined
}

/** Scores a completion. */
export type Reward<Row = AnyRow> = (answer: JudgedAnswer<Row>) => number | Promise<number>

/** Rewards in a list, each with its function's name, or by name. */
export type Rewards<Row = AnyRow> = readonly Reward<Row>[] | Readonly<Record<string, Reward<Row>>>

/** Options of computing rewards. */
interface RewardOptions {
  /** Maximum number of rewards computed at once. */
  readonly rewardConcurrency: number
  /** Time limit of a reward [s]. */
  readonly rewardTimeout: number
  /** Replaces a reward that fails, times out, or is no number; absent: the run ends. */
  readonly failedReward?: number | undefined
}

/** Returns rewards by their names. @throws UsageError for none, for what is no function, and for a name that occurs twice */
export function namedRewards(rewards: Rewards): [name: string, reward: Reward][] {
  if (typeof rewards !== 'object' || rewards === null)
    throw new UsageError(
      'missing-option',
      `GRPO needs rewards: a list of functions, or functions by name (${theOption('rewards')}).`,
    )
  const named: [string, Reward][] = Array.isArray(rewards)
    ? (rewards as readonly Reward[]).map((reward, i) => [reward?.name || `reward${i}`, reward])
    : Object.entries(rewards)
  const wrong = named.find(([, reward]) => typeof reward !== 'function')
  if (wrong) throw new UsageError('bad-value', `Expected a function for the reward ${wrong[0]}.`)
  const names = named.map(([name]) => name)
  const twice = names.find((name, i) => names.indexOf(name) < i)
  if (twice !== undefined)
    throw new UsageError('bad-value', `Expected rewards of different names but received ${twice} twice.`)
  if (named.length > 0) return named
  throw new UsageError('missing-option', `GRPO needs rewards: give at least one function (${theOption('rewards')}).`)
}

/**
 * Computes the rewards of episodes, many at once: a list for each reward.
 * @throws RunError `failed-reward` with the reward and the answer
 */
export async function judge(
  episodes: readonly Episode[],
  rewards: readonly (readonly [name: string, reward: Reward])[],
  { rewardConcurrency, rewardTimeout: seconds, failedReward }: RewardOptions,
  signal: AbortSignal | undefined,
): Promise<number[][]> {
  const group = new TaskGroup(signal)
  const { signal: whole } = group
  const one = async (name: string, reward: Reward, episode: Episode): Promise<number> => {
    const { question, completion, hasEnded, environment } = episode
    const { prompt } = question
    try {
      // A reward may change its arguments, but neither the trained rows nor the arguments of other rewards.
      const [row, messages, ids] = plainCopy([question.row, episode.messages, episode.ids] as const)
      const answer = { prompt, completion, row, messages, ids, hasEnded, environment, signal: whole }
      const value: unknown = await withDeadline(async () => reward(answer), { seconds, signal: whole })
      if (typeof value === 'number' && Number.isFinite(value)) return value
      throw new RunError('failed-reward', `it is ${typeof value === 'number' ? value : `no number (${typeof value})`}`)
    } catch (error) {
      whole.throwIfAborted()
      if (failedReward !== undefined) return failedReward
      throw new RunError(
        'failed-reward',
        `The reward ${name} of an answer to ${JSON.stringify(prompt.slice(0, 60))} could not be computed: ${reasonOfCaller(error)}; mend it, or give ${theOption('failedReward')}.`,
        { cause: error },
      )
    }
  }
  const all = rewards.flatMap(([name, reward]) => episodes.map((episode) => ({ name, reward, episode })))
  const values = await inParallel(all, rewardConcurrency, ({ name, reward, episode }) =>
    group.run(() => one(name, reward, episode)),
  )
  return rewards.map((_, i) => values.slice(i * episodes.length, (i + 1) * episodes.length))
}
