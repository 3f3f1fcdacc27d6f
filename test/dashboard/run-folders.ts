/** Folders of runs as `mora train` leaves them, without training. */
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { thisProcess } from '../../lib/io/process-identity.js'

/** The line of a step; a course that falls from 5. */
export function stepLine(step: number, changes: object = {}): object {
  const facts = { targetTokens: 100, tokens: 120, tokensPerSecond: 1000 + step, memoryBytes: 3e6 }
  return { step, epoch: step / 10, loss: 1 + 4 / step, gradNorm: 2 / step, learningRate: 1e-3, ...facts, ...changes }
}

export const stepLines = (first: number, last: number): object[] =>
  Array.from({ length: last - first + 1 }, (_, i) => stepLine(first + i))

export const evaluationLine = (step: number, evalLoss: number): object => ({ step, epoch: step / 10, evalLoss })

export interface RunContent {
  metrics?: readonly object[]
  options?: Record<string, unknown>
  samples?: readonly object[]
  checkpoints?: readonly number[]
  /** With a model card, as a run has one that came to its end or was stopped. */
  card?: boolean
  /** Held by this very process. */
  locked?: boolean
}

const jsonLines = (lines: readonly object[]) => lines.map((line) => `${JSON.stringify(line)}\n`).join('')

/** Writes the folder of a run and returns its path. */
export function writeRun(parent: string, name: string, content: RunContent = {}): string {
  const { metrics = stepLines(1, 3), options = { method: 'mora', maxSteps: 3 }, samples, checkpoints = [] } = content
  const folder = join(parent, name)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'metrics.jsonl'), jsonLines(metrics))
  writeFileSync(join(folder, 'run.yaml'), JSON.stringify({ options, machine: { device: 'cpu' } }))
  if (samples) writeFileSync(join(folder, 'samples.jsonl'), jsonLines(samples))
  for (const step of checkpoints) {
    mkdirSync(join(folder, 'checkpoints', `step-${String(step).padStart(6, '0')}`), { recursive: true })
  }
  if (content.card) writeFileSync(join(folder, 'README.md'), '# a model card\n')
  if (content.locked) writeFileSync(join(folder, '.lock'), JSON.stringify(thisProcess()))
  return folder
}

export function appendMetrics(folder: string, lines: readonly object[]): void {
  appendFileSync(join(folder, 'metrics.jsonl'), jsonLines(lines))
}
