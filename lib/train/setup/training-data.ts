import type { Batch } from '../../data/batch.js'
import type { DataPurpose } from '../../data/files/data-files.js'
import { microBatches, type StepRows } from '../../data/packing.js'
import { type SampledRow, Sampler } from '../../data/sampler.js'
import type { DataSource, RecordedSource } from '../../data/sources/source.js'
import type { DataSummary } from '../../data/summary.js'
import type { Objective, ObjectiveRows } from '../../objectives/objective.js'
import { maxLengthOf, pastPositions, type TrainOptions } from '../../options/index.js'
import type { Ranks } from '../../tensor/ranks.js'
import type { ModelFacts } from '../trainable.js'

/** Rows as the steps of a run take them. */
export interface TrainingData {
  readonly totalSteps: number
  /** Tokens of a row at most. */
  readonly maxLength: number
  readonly hash: string
  readonly evaluationHash: string | null
  readonly hasEvaluation: boolean
  /** What rows came from, for `run.yaml`. */
  readonly sources: { readonly data: readonly RecordedSource[]; readonly evalData?: readonly RecordedSource[] }
  /** Tokens that the largest forward pass has at least: those of the longest row, or of as many as usual rows as it takes. */
  largestPass(tokenBudget: number): number
  /** Control tokens that are targets. */
  readonly trainedSpecialTokens: DataSummary['trainedSpecialTokens']
  /** Passes over the data after `step` optimizer steps. */
  epochAfter(step: number): number
  /** Micro-batches of a schedule step, from 0; `tokenBudget` is the most tokens of one where no `microBatchSize` is given. */
  batches(step: number, tokenBudget: number): Iterable<Batch>
  evaluationBatches(tokenBudget: number): Iterable<Batch>
}

export interface TrainingDataOptions {
  objective: Objective
  ranks: Ranks
  notice: (message: string) => void
  signal?: AbortSignal
}

type DataOptions = Pick<
  TrainOptions,
  | 'data'
  | 'evalData'
  | 'maxLength'
  | 'template'
  | 'text'
  | 'tools'
  | 'templateOptions'
  | 'trainOn'
  | 'batchSize'
  | 'seed'
  | 'shuffle'
  | 'epochs'
  | 'maxSteps'
  | 'microBatchSize'
  | 'packing'
  | 'offline'
>

/** Reads and tokenises the rows of a run. */
export async function loadTrainingData(
  model: Pick<ModelFacts, 'tokenizer' | 'config'>,
  options: DataOptions,
  { objective, ranks, notice, signal }: TrainingDataOptions,
): Promise<TrainingData> {
  const { maxPositions, vocabularySize } = model.config
  const maxLength = maxLengthOf(options.maxLength, maxPositions)
  const past = pastPositions(maxLength, maxPositions)
  if (past) notice(past)
  const load = (source: readonly DataSource[], purpose: DataPurpose) =>
    objective.load(source, {
      purpose,
      offline: options.offline,
      tokenizer: model.tokenizer,
      maxLength,
      template: options.template,
      text: options.text,
      tools: options.tools,
      templateOptions: options.templateOptions,
      trainOn: options.trainOn,
      vocabularySize,
      onWarning: notice,
      signal,
    })
  const rows = await load(options.data ?? [], 'training')
  const evaluation = options.evalData ? await load(options.evalData, 'validation') : null
  const { batchSize, seed, shuffle, epochs, maxSteps, microBatchSize } = options
  const sampler = new Sampler({
    rows: rows.length,
    parts: rows.parts,
    batchSize,
    seed,
    shuffle,
    epochs: maxSteps === undefined ? epochs : undefined,
    rank: ranks.rank,
    size: ranks.size,
  })
  const { packing } = options
  const cut = (set: StepRows, picked: readonly SampledRow[], tokenBudget: number) =>
    microBatches(set, picked, microBatchSize === undefined ? { tokenBudget, packing } : { microBatchSize, packing })
  return {
    totalSteps: maxSteps ?? sampler.steps,
    maxLength,
    hash: rows.hash,
    evaluationHash: evaluation?.hash ?? null,
    hasEvaluation: evaluation !== null,
    sources: { data: sourcesOf(rows), ...(evaluation && { evalData: sourcesOf(evaluation) }) },
    largestPass(tokenBudget) {
      const usual = Math.floor((microBatchSize ?? batchSize) * (rows.summary.tokens / rows.length))
      return Math.max(longestRow(rows), microBatchSize === undefined ? Math.min(usual, tokenBudget) : usual)
    },
    trainedSpecialTokens: rows.summary.trainedSpecialTokens,
    epochAfter: (step) => sampler.epochAfter(step),
    batches: (step, tokenBudget) => cut(rows, sampler.rowsOfStep(step), tokenBudget),
    *evaluationBatches(tokenBudget) {
      if (!evaluation) return
      for (let start = 0; start < evaluation.length; start += batchSize) {
        const picked: SampledRow[] = []
        const count = Math.min(batchSize, evaluation.length - start)
        for (let row = ranks.rank; row < count; row += ranks.size) picked.push({ index: start + row, row })
        yield* cut(evaluation, picked, tokenBudget)
      }
    },
  }
}

const sourcesOf = ({ parts }: ObjectiveRows): RecordedSource[] => parts.map(({ source }) => source)

function longestRow(rows: StepRows): number {
  let longest = 0
  for (let index = 0; index < rows.length; index++) longest = Math.max(longest, rows.rowLength(index))
  return longest
}
