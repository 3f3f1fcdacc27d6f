/** `metrics.jsonl`: one line for every optimizer step and every evaluation. */
import { readFile } from 'node:fs/promises'
import { appendLine, writeFileAtomic } from '../io/atomic.js'
import type { EvaluationEvent, StepEvent } from './events.js'
import type { TrainerState } from './trainer-state.js'

export function appendStep(path: string, event: StepEvent): Promise<void> {
  const { step, epoch, loss, gradNorm, learningRate, targetTokens, tokens, tokensPerSecond, memoryBytes } = event
  const line = { step, epoch, loss, gradNorm, learningRate, targetTokens, tokens, tokensPerSecond, memoryBytes }
  return appendLine(path, JSON.stringify(line))
}

export function appendEvaluation(path: string, { step, epoch, evalLoss }: EvaluationEvent): Promise<void> {
  return appendLine(path, JSON.stringify({ step, epoch, evalLoss }))
}

/**
 * Drops the lines that a run resumed from this state will write again: of later steps, of an evaluation that the state
 * does not know, and what a crash cut off.
 */
export async function truncateMetrics(path: string, state: Pick<TrainerState, 'step' | 'evaluatedAt'>): Promise<void> {
  const text = await readFile(path, 'utf8').catch(() => '')
  const lines = text.split('\n').filter((line) => isKept(line, state))
  await writeFileAtomic(path, lines.map((line) => `${line}\n`).join(''))
}

function isKept(line: string, { step, evaluatedAt }: Pick<TrainerState, 'step' | 'evaluatedAt'>): boolean {
  try {
    const entry = JSON.parse(line) as { step: number; evalLoss?: number }
    return entry.evalLoss === undefined ? entry.step <= step : entry.step <= (evaluatedAt ?? 0)
  } catch {
    return false
  }
}
