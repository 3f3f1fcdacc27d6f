import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Objective } from '../../lib/objectives/objective.js'
import type { StepEvent, TrainEvent, TrainResult } from '../../lib/train/events.js'
import type { Run } from '../../lib/train/run.js'
import type { TrainingParts } from '../../lib/train/setup/set-up.js'
import { type TrainOptions, trainWith } from '../../lib/train/train.js'
import { FakeModel, type FakeOptions, VOCABULARY } from './fake-model.js'
import { FakeAdamW, type FakeParameter } from './fake-optimizer.js'

/** Ragged rows, of which some train only their end. */
export function rows(count: number, { first = 0 } = {}): { input_ids: number[]; labels: number[] }[] {
  return Array.from({ length: count }, (_, i) => {
    const number = first + i
    const ids = Array.from({ length: 2 + ((number * 5) % 9) }, (_, t) => (number * 3 + t * t + 1) % VOCABULARY)
    const trainedFrom = number % 3 === 0 ? ids.length - 1 : 0
    return { input_ids: ids, labels: ids.map((id, t) => (t < trainedFrom ? -100 : id)) }
  })
}

export function writeRows(folder: string, name: string, values: readonly object[]): string {
  const path = join(folder, name)
  writeFileSync(path, values.map((value) => `${JSON.stringify(value)}\n`).join(''))
  return path
}

export const fakeParts: TrainingParts = {
  createOptimizer: (parameters, options) => new FakeAdamW(parameters as unknown as FakeParameter[], options),
  sample: () => Promise.reject(new Error('not needed here')),
  openWriter: () => Promise.reject(new Error('not needed here')),
}

export interface Outcome {
  model: FakeModel
  run: Run
  events: TrainEvent[]
  result: TrainResult
}

export const steps = ({ events }: Pick<Outcome, 'events'>): StepEvent[] =>
  events.filter((event): event is StepEvent => event.type === 'step')

export const notices = ({ events }: Pick<Outcome, 'events'>): string[] =>
  events.flatMap((event) => (event.type === 'notice' ? [event.message] : []))

/** Trains a fresh fake model to the end; `onEvent` sees each event while the run waits. */
export async function trainFake(
  options: TrainOptions,
  fake: FakeOptions & { threads?: number; processor?: string; now?: () => number; objective?: Objective } = {},
  onEvent?: (event: TrainEvent, run: Run) => void | Promise<void>,
): Promise<Outcome> {
  const model = new FakeModel(fake)
  model.threads = fake.threads ?? 1
  model.processor = fake.processor ?? 'A1'
  const run = trainWith(
    model,
    { learningRate: 0.05, seed: 7, ...options },
    { ...fakeParts, now: fake.now, objective: fake.objective },
  )
  const events: TrainEvent[] = []
  for await (const event of run) {
    events.push(event)
    await onEvent?.(event, run)
  }
  return { model, run, events, result: await run.finished }
}
