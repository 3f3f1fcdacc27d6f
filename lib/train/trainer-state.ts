import { z } from 'zod'
import { StreamPlaceSchema } from '../batches/place.js'

const count = z.int().min(0)

/** The rollouts of one step on all ranks, as JSON. */
const SampledRecordSchema = z.object({
  rows: z.array(
    z.object({ row: z.int(), ids: z.array(z.int()), mask: z.array(z.int()), weight: z.number().optional() }),
  ),
  rollouts: z.array(
    z.object({ advantage: z.number(), sampled: z.array(z.number()).optional(), old: z.array(z.number()).optional() }),
  ),
  metrics: z.record(z.string(), z.object({ sum: z.number(), weight: z.number() })),
  records: z.array(z.looseObject({})),
  toolError: z.string().optional(),
})

/** The progress of a run: what a checkpoint needs besides weights and moments. */
export const TrainerStateSchema = z.object({
  /** Optimizer steps taken. */
  step: count,
  /** Input tokens and target tokens seen so far. */
  tokens: count,
  targetTokens: count,
  /** The loss of the last step; null before the first. */
  loss: z.number().nullable(),
  /** The loss of the last evaluation; null before the first. */
  evalLoss: z.number().nullable(),
  /** Step of the last evaluation; null before the first. */
  evaluatedAt: count.nullable(),
  /** Lowest evaluation loss and its step; null before the first evaluation. */
  best: z.object({ evalLoss: z.number(), step: count }).nullable(),
  evaluationsWithoutBetter: count,
  /** Step of the last samples; null before the first. */
  sampledAt: count.nullable().default(null),
  /** Number of permanent merges of the adapter, and the step of the last one; null before the first. */
  merges: count,
  mergedAt: count.nullable(),
  /** Where the rows of the next step begin; null if the number of the step tells. */
  place: StreamPlaceSchema.nullable().default(null),
  /** Rollouts that the next steps train too; null if the next step samples again. */
  generation: z.array(SampledRecordSchema).nullable().default(null),
})

export type TrainerState = z.output<typeof TrainerStateSchema>

export function initialState(): TrainerState {
  return {
    step: 0,
    tokens: 0,
    targetTokens: 0,
    loss: null,
    evalLoss: null,
    evaluatedAt: null,
    best: null,
    evaluationsWithoutBetter: 0,
    sampledAt: null,
    merges: 0,
    mergedAt: null,
    place: null,
    generation: null,
  }
}

/** Returns the state after an evaluation. Only a strictly lower loss counts as better. */
export function afterEvaluation(state: TrainerState, evalLoss: number): TrainerState {
  const better = state.best === null || evalLoss < state.best.evalLoss
  return {
    ...state,
    evalLoss,
    evaluatedAt: state.step,
    best: better ? { evalLoss, step: state.step } : state.best,
    evaluationsWithoutBetter: better ? 0 : state.evaluationsWithoutBetter + 1,
  }
}
