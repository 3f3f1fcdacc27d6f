import { z } from 'zod'

/** Where a run stands: what a checkpoint needs besides weights and moments. */
export interface TrainerState {
  /** Optimizer steps done. */
  step: number
  /** Input tokens and target tokens seen so far. */
  tokens: number
  targetTokens: number
  /** The loss of the last step; null before the first. */
  loss: number | null
  /** The loss of the last evaluation; null before the first. */
  evalLoss: number | null
  /** Step of the last evaluation; null before the first. */
  evaluatedAt: number | null
  /** Lowest evaluation loss and its step; null before the first evaluation. */
  best: { evalLoss: number; step: number } | null
  evaluationsWithoutBetter: number
  /** Step of the last samples; null before the first. */
  sampledAt: number | null
  /** How often the adapter was merged for good, and the step of the last time; null before the first. */
  merges: number
  mergedAt: number | null
}

const count = z.int().min(0)

export const TrainerStateSchema: z.ZodType<TrainerState> = z.object({
  step: count,
  tokens: count,
  targetTokens: count,
  loss: z.number().nullable(),
  evalLoss: z.number().nullable(),
  evaluatedAt: count.nullable(),
  best: z.object({ evalLoss: z.number(), step: count }).nullable(),
  evaluationsWithoutBetter: count,
  sampledAt: count.nullable().default(null),
  merges: count,
  mergedAt: count.nullable(),
})

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
  }
}

/** The state after an evaluation. Only a strictly lower loss is better. */
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
