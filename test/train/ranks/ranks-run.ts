/** Runs of tiny models on several ranks of this process. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Ranks } from '../../../lib/tensor/ranks.js'
import type { TrainEvent, TrainResult } from '../../../lib/train/events.js'
import type { Run } from '../../../lib/train/run.js'
import { type TrainOptions, trainWith } from '../../../lib/train/train.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { localRanks } from '../local-ranks.js'
import { TinyModel } from '../tiny-model.js'
import { LAYERS, rows, writeRows } from '../tiny-run.js'

const folder = useTemporaryFolder()

/** A path in the test's folder. */
export const at = (name: string): string => join(folder(), name)

/** Six steps of five ragged rows, a row in each pass. */
export function optionsOf(changes: Partial<TrainOptions> = {}): TrainOptions & { output: string } {
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  const common = {
    learningRate: 0.05,
    seed: 7,
    targetModules: LAYERS,
    dropout: 0.3,
    batchSize: 5,
    maxSteps: 6,
    microBatchSize: 1,
  }
  return { data, output: at('out'), ...common, ...changes }
}

/** The same with an evaluation every two steps. */
export const evaluating = (changes: Partial<TrainOptions> = {}) =>
  optionsOf({ evalData: writeRows(folder(), 'valid.jsonl', rows(7, { first: 20 })), evalEvery: 2, ...changes })

/** What one rank does differently from the others. */
export interface Part {
  model?: TinyModel
  options?: Partial<TrainOptions>
  ranks?: Partial<Ranks>
  now?: () => number
  /** Sees each event while the run waits. */
  onEvent?: (event: TrainEvent, run: Run) => void | Promise<void>
}

export interface Outcome {
  model: TinyModel
  events: TrainEvent[]
  result: TrainResult | null
  error: unknown
}

/** Runs on every rank; `parts` describes the differences of some. */
export function trainOn(
  size: number,
  options: TrainOptions,
  parts: Readonly<Record<number, Part>> = {},
): Promise<Outcome[]> {
  return Promise.all(
    localRanks(size).map(async (ranks, rank): Promise<Outcome> => {
      const { model = new TinyModel(), onEvent, now, ...own } = parts[rank] ?? {}
      const run = trainWith(model, { ...options, ...own.options, ranks: { ...ranks, ...own.ranks } }, { now })
      const events: TrainEvent[] = []
      try {
        for await (const event of run) {
          events.push(event)
          await onEvent?.(event, run)
        }
        const result = await run.finished
        await model.device.synchronize()
        return { model, events, result, error: null }
      } catch (error) {
        return { model, events, result: null, error }
      }
    }),
  )
}

export const isStep = (event: TrainEvent, step: number): boolean => event.type === 'step' && event.step === step
export const stepsOf = ({ events }: Outcome) => events.flatMap((event) => (event.type === 'step' ? [event.step] : []))
export const lossesOf = ({ events }: Outcome) => events.flatMap((event) => (event.type === 'step' ? [event.loss] : []))
export const evaluatedOf = ({ events }: Outcome) =>
  events.flatMap((event) => (event.type === 'evaluation' ? [event.step] : []))
export const noticesOf = ({ events }: Outcome) =>
  events.flatMap((event) => (event.type === 'notice' ? [event.message] : []))
export const savedOf = ({ events }: Outcome) =>
  events.flatMap((event) => (event.type === 'checkpoint' ? [event.step] : []))
export const bitsOf = ({ model }: Outcome) => model.values().map((values) => Buffer.from(values.buffer).toString('hex'))
export const messageOf = ({ error }: Outcome) => (error as Error | null)?.message
export const checkpoints = (output = at('out')) => readdirSync(join(output, 'checkpoints')).sort()
