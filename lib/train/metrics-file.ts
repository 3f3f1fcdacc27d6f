/** `metrics.jsonl`: one line for every optimizer step and every evaluation. */
import { readFile } from 'node:fs/promises'
import { appendLine, writeFileAtomic } from '../io/atomic.js'
import type { EvaluationEvent, StepEvent } from './events.js'

export function appendStep(path: string, event: StepEvent): Promise<void> {
  const { step, epoch, loss, gradNorm, learningRate, targetTokens, tokens, tokensPerSecond, memoryBytes } = event
  const line = { step, epoch, loss, gradNorm, learningRate, targetTokens, tokens, tokensPerSecond, memoryBytes }
  return appendLine(path, JSON.stringify(line))
}

export function appendEvaluation(path: string, { step, epoch, evalLoss }: EvaluationEvent): Promise<void> {
  return appendLine(path, JSON.stringify({ step, epoch, evalLoss }))
}

/** Drops lines of steps after `step`, and lines that a crash cut off: a resumed run writes them again. */
export async function truncateMetrics(path: string, step: number): Promise<void> {
  const text = await readFile(path, 'utf8').catch(() => '')
  const lines = text.split('\n').filter((line) => stepOf(line) <= step)
  await writeFileAtomic(path, lines.map((line) => `${line}\n`).join(''))
}

function stepOf(line: string): number {
  try {
    const { step } = JSON.parse(line) as { step?: unknown }
    return typeof step === 'number' ? step : Number.POSITIVE_INFINITY
  } catch {
    return Number.POSITIVE_INFINITY
  }
}
