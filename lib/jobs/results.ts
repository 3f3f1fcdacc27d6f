/** Reads what a job's run has written: numbers of steps, checkpoints, and the table of results. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { WHOLE } from '../graders/grader.js'
import { isByTime, listCheckpoints } from '../train/checkpoints/checkpoint.js'
import type { GrownLines } from './grown-lines.js'

/** Numbers of a step, by OpenAI's names. */
export interface StepMetrics {
  readonly step: number
  readonly train_loss?: number
  readonly train_mean_token_accuracy?: number
  readonly valid_loss?: number
  readonly valid_mean_token_accuracy?: number
  readonly full_valid_loss?: number
  readonly full_valid_mean_token_accuracy?: number
  readonly train_mean_reward?: number
  readonly full_valid_mean_reward?: number
  readonly completion_tokens_mean?: number
  /** Means of rewards: of all, and of each grader. */
  readonly scores?: RewardMeans & { readonly graders: readonly (RewardMeans & { readonly name: string })[] }
}

interface RewardMeans {
  readonly train_reward_mean?: number
  readonly valid_reward_mean?: number
}

/** A line of `metrics.jsonl`. */
interface Line {
  readonly step: number
  readonly time: string
  readonly loss?: number
  readonly evalLoss?: number
  readonly tokenAccuracy?: number
  readonly tokens?: number
  readonly reward?: number
  readonly completionLength?: number
  readonly [name: `reward/${string}`]: number
}

/** A checkpoint that can be served. */
export interface JobCheckpoint {
  readonly step: number
  readonly path: string
  /** Milliseconds since 1970. */
  readonly createdAt: number
}

/** Returns the numbers of each step of a run and their time, the first step first, and the number of tokens. */
export async function stepsOfRun(
  run: string,
  lines: GrownLines,
): Promise<{ steps: (StepMetrics & { at: number })[]; tokens: number }> {
  const steps = new Map<number, StepMetrics & { at: number }>()
  let tokens = 0
  for (const line of await lines.of<Line>(join(run, 'metrics.jsonl'))) {
    const former = steps.get(line.step) ?? { step: line.step, at: Date.parse(line.time) }
    steps.set(line.step, { ...former, ...numbersOf(line), ...rewardsOf(line, former) })
    tokens += line.tokens ?? 0
  }
  return { steps: [...steps.values()], tokens }
}

function numbersOf({ loss, evalLoss, reward, tokenAccuracy: accuracy }: Line): Partial<StepMetrics> {
  if (evalLoss === undefined) {
    return {
      ...(loss !== undefined && { train_loss: loss }),
      ...(accuracy !== undefined && { train_mean_token_accuracy: accuracy }),
    }
  }
  // It is minus the mean reward.
  if (reward !== undefined) return {}
  return {
    valid_loss: evalLoss,
    full_valid_loss: evalLoss,
    ...(accuracy !== undefined && { valid_mean_token_accuracy: accuracy, full_valid_mean_token_accuracy: accuracy }),
  }
}

const GRADER = 'reward/'

/** Returns the means of the rewards of a step or an evaluation, beside those of the other that its step has. */
function rewardsOf(line: Line, { scores: former }: StepMetrics): Partial<StepMetrics> {
  const { reward, evalLoss, completionLength } = line
  if (reward === undefined) return {}
  const isOfStep = evalLoss === undefined
  const means = (mean: number): RewardMeans => (isOfStep ? { train_reward_mean: mean } : { valid_reward_mean: mean })
  const graders = Object.entries(line).flatMap(([key, mean]) => {
    const name = key.slice(GRADER.length)
    if (!key.startsWith(GRADER) || name === WHOLE) return []
    return [{ name, ...former?.graders.find((one) => one.name === name), ...means(Number(mean)) }]
  })
  return {
    ...(isOfStep ? { train_mean_reward: reward } : { full_valid_mean_reward: reward }),
    ...(isOfStep && completionLength !== undefined && { completion_tokens_mean: completionLength }),
    scores: { ...former, ...means(reward), graders },
  }
}

/** Returns the checkpoints of a run that can be served, the newest first. */
export async function checkpointsOfRun(run: string): Promise<JobCheckpoint[]> {
  const found = await listCheckpoints(join(run, 'checkpoints'))
  const served = found
    .filter(({ path }) => !isByTime(path))
    .map(async ({ step, path }) => {
      const facts = await stat(join(path, 'adapter_config.json')).catch(() => null)
      return facts ? [{ step, path, createdAt: Math.floor(facts.mtimeMs) }] : []
    })
  return (await Promise.all(served)).flat()
}

/** Columns of OpenAI's result files, and the numbers in them. */
const COLUMNS = {
  step: 'step',
  train_loss: 'train_loss',
  train_accuracy: 'train_mean_token_accuracy',
  valid_loss: 'valid_loss',
  valid_mean_token_accuracy: 'valid_mean_token_accuracy',
} as const

const REWARD_COLUMNS = {
  step: 'step',
  train_mean_reward: 'train_mean_reward',
  full_valid_mean_reward: 'full_valid_mean_reward',
  completion_tokens_mean: 'completion_tokens_mean',
} as const

/** Returns the numbers of all steps as comma-separated values, with the columns of OpenAI's result files. */
export function resultTable(steps: readonly StepMetrics[]): string {
  const columns = steps.some(({ scores }) => scores) ? REWARD_COLUMNS : COLUMNS
  const lines = steps.map((step) => Object.values(columns).map((name) => step[name as 'step'] ?? ''))
  return [Object.keys(columns), ...lines].map((line) => `${line.join(',')}\n`).join('')
}
