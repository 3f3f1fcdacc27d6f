/** Reads what a job's run has written: numbers of steps, checkpoints, and the table of results. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
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
}

/** A line of `metrics.jsonl`. */
interface Line {
  readonly step: number
  readonly time: string
  readonly loss?: number
  readonly evalLoss?: number
  readonly tokenAccuracy?: number
  readonly tokens?: number
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
    steps.set(line.step, { ...former, ...numbersOf(line) })
    tokens += line.tokens ?? 0
  }
  return { steps: [...steps.values()], tokens }
}

function numbersOf({ loss, evalLoss, tokenAccuracy: accuracy }: Line): Partial<StepMetrics> {
  if (evalLoss === undefined) {
    return {
      ...(loss !== undefined && { train_loss: loss }),
      ...(accuracy !== undefined && { train_mean_token_accuracy: accuracy }),
    }
  }
  return {
    valid_loss: evalLoss,
    full_valid_loss: evalLoss,
    ...(accuracy !== undefined && { valid_mean_token_accuracy: accuracy, full_valid_mean_token_accuracy: accuracy }),
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

const COLUMNS = ['step', 'train_loss', 'train_accuracy', 'valid_loss', 'valid_mean_token_accuracy'] as const

/** Returns the numbers of all steps as comma-separated values, with the columns of OpenAI's result files. */
export function resultTable(steps: readonly StepMetrics[]): string {
  const lines = steps.map(({ step, train_loss, train_mean_token_accuracy, valid_loss, valid_mean_token_accuracy }) =>
    [step, train_loss, train_mean_token_accuracy, valid_loss, valid_mean_token_accuracy]
      .map((one) => one ?? '')
      .join(','),
  )
  return [COLUMNS.join(','), ...lines].map((line) => `${line}\n`).join('')
}
