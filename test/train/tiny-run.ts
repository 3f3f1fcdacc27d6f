import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { StepEvent, TrainEvent, TrainResult } from '../../lib/train/events.js'
import type { Run } from '../../lib/train/run.js'
import { type TrainOptions, trainWith } from '../../lib/train/train.js'
import { TinyModel, type TinyOptions, VOCABULARY } from './tiny-model.js'

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

export interface Outcome {
  model: TinyModel
  run: Run
  events: TrainEvent[]
  result: TrainResult
}

export const steps = ({ events }: Pick<Outcome, 'events'>): StepEvent[] =>
  events.filter((event): event is StepEvent => event.type === 'step')

export const notices = ({ events }: Pick<Outcome, 'events'>): string[] =>
  events.flatMap((event) => (event.type === 'notice' ? [event.message] : []))

/** The layers that have an adapter by default: those whose gradients take the least time. */
export const LAYERS = ['up_proj', 'down_proj']

/** Returns a memory [bytes] in which a forward pass of the model has little more than the fewest tokens. */
export const tightMemory = (model: TinyModel): number => 2 ** 28 + model.device.memory().inUse + 420 * 1024

/** Trains a fresh tiny model to the end; `onEvent` sees each event while the run waits. */
export async function trainTiny(
  options: TrainOptions,
  { now, ...tiny }: TinyOptions & { model?: TinyModel; now?: () => number } = {},
  onEvent?: (event: TrainEvent, run: Run) => void | Promise<void>,
): Promise<Outcome> {
  const { model = new TinyModel(tiny) } = tiny
  const targetModules = options.method === 'full' ? undefined : LAYERS
  const run = trainWith(model, { learningRate: 0.05, seed: 7, targetModules, ...options }, { now })
  const events: TrainEvent[] = []
  for await (const event of run) {
    events.push(event)
    await onEvent?.(event, run)
  }
  const result = await run.finished
  await model.device.synchronize()
  return { model, run, events, result }
}
