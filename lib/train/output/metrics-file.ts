/** `metrics.jsonl`, one line for every optimizer step and evaluation; `samples.jsonl` and `rollouts.jsonl`, one for every answer. */
import { stat } from 'node:fs/promises'
import { InputError } from '../../common/errors.js'
import { reasonOf } from '../../common/foreign-errors.js'
import { appendLine, writeFileAtomic } from '../../io/atomic.js'
import { readText } from '../../io/open.js'
import type { EvaluationEvent, SampleEvent, StepEvent } from '../events.js'
import type { TrainerState } from '../trainer-state.js'

/** Numbers in the line of an optimizer step, and in that of an evaluation. */
const OF_STEPS = [
  'step',
  'epoch',
  'loss',
  'gradNorm',
  'learningRate',
  'targetTokens',
  'tokens',
  'tokensPerSecond',
  'memoryBytes',
] as const
const OF_EVALUATIONS = ['step', 'epoch', 'evalLoss'] as const

/** Keys that have a meaning in these lines. */
export const OWN_KEYS: ReadonlySet<string> = new Set([...OF_STEPS, ...OF_EVALUATIONS, 'time'])

/** A line as written; logged numbers may follow. */
interface MetricsLine {
  readonly step: number
  /** ISO 8601. */
  readonly time: string
  readonly [name: string]: number | string
}

/** Returns the line of an event in `metrics.jsonl`, at the present time. */
export function lineOf(event: StepEvent | EvaluationEvent): MetricsLine {
  const numbers = event.type === 'step' ? picked(event, OF_STEPS) : picked(event, OF_EVALUATIONS)
  return { ...numbers, ...event.metrics, step: event.step, time: new Date().toISOString() }
}

function picked<Name extends string>(from: Readonly<Record<Name, number>>, names: readonly Name[]) {
  return Object.fromEntries(names.map((name) => [name, from[name]]))
}

/** Adds numbers to the last line, if there is one. */
export async function extendLastMetrics(path: string, numbers: Readonly<Record<string, number>>): Promise<void> {
  const lines = ((await textOf(path)) ?? '').trimEnd().split('\n')
  const last = lines.pop()
  if (!last) return
  const extended = JSON.stringify({ ...(JSON.parse(last) as object), ...numbers })
  await writeFileAtomic(path, [...lines, extended].map((line) => `${line}\n`).join(''))
}

/** Appends the samples of one step. */
export async function appendSamples(path: string, events: readonly SampleEvent[]): Promise<void> {
  const lines = events.map(({ step, prompt, text }) => JSON.stringify({ step, prompt, text }))
  if (lines.length > 0) await appendLine(path, lines.join('\n'))
}

/** The size from which a file of rollouts loses its older half, in bytes. */
const MOST_ROLLOUTS = 2 ** 26

/** Appends the answers that a step trains. A file of 64 MiB loses its older half first. */
export async function appendRollouts(path: string, step: number, records: readonly object[]): Promise<void> {
  const facts = await stat(path).catch(() => null)
  if (facts?.isFile() && facts.size >= MOST_ROLLOUTS) {
    const lines = (await readText(path)).trimEnd().split('\n')
    await writeFileAtomic(path, `${lines.slice(Math.ceil(lines.length / 2)).join('\n')}\n`)
  }
  await appendLine(path, records.map((record) => JSON.stringify({ step, ...record })).join('\n'))
}

/**
 * Removes the lines that a run resumed from this state will write again: lines of later steps, of an evaluation that the state
 * does not know, and an incomplete last line. Returns how many of the earlier steps have no line.
 */
export async function truncateMetrics(
  path: string,
  { step, evaluatedAt }: Pick<TrainerState, 'step' | 'evaluatedAt'>,
): Promise<number> {
  const text = (await textOf(path)) ?? ''
  const steps = new Set<number>()
  await keepLines(path, text, (line) => {
    const isStep = line.evalLoss === undefined
    if (isStep && line.step <= step) steps.add(line.step)
    return line.step <= (isStep ? step : (evaluatedAt ?? 0))
  })
  return step - steps.size
}

/** Does the same for samples; a run may have none. */
export async function truncateSamples(path: string, { sampledAt }: Pick<TrainerState, 'sampledAt'>): Promise<void> {
  const text = await textOf(path)
  if (text !== null) await keepLines(path, text, ({ step }) => step <= (sampledAt ?? -1))
}

/** Does the same for rollouts; a run may have none. */
export async function truncateRollouts(path: string, { step: last }: Pick<TrainerState, 'step'>): Promise<void> {
  const text = await textOf(path)
  if (text !== null) await keepLines(path, text, ({ step }) => step <= last)
}

/** Returns the text of a file to continue; null if there is none, and empty for a pipe or device, which a file replaces. */
async function textOf(path: string): Promise<string | null> {
  const facts = await stat(path).catch(() => null)
  if (!facts?.isFile()) return facts && ''
  try {
    return await readText(path)
  } catch (cause) {
    throw new InputError('too-large', `${path} cannot be continued: ${reasonOf(cause, 'it is damaged')}.`, { cause })
  }
}

async function keepLines(path: string, text: string, isKept: (line: { step: number; evalLoss?: number }) => boolean) {
  const lines = text.split('\n').filter((line) => {
    try {
      return isKept(JSON.parse(line) as { step: number; evalLoss?: number })
    } catch {
      return false
    }
  })
  await writeFileAtomic(path, lines.map((line) => `${line}\n`).join(''))
}
