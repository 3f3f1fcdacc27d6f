import type { Batch } from '../../data/batch.js'
import type { DatasetOptions } from '../../data/dataset.js'
import type { DataPurpose } from '../../data/files/data-files.js'
import { microBatches, type StepRows } from '../../data/packing.js'
import { type SampledRow, Sampler } from '../../data/sampler.js'
import { describeReport, type SourceReport, sourceReports } from '../../data/sources/report.js'
import type { DataSource, RecordedSource } from '../../data/sources/source.js'
import type { DataSummary } from '../../data/summary.js'
import type { ObjectiveRows, RunObjective } from '../../objectives/objective.js'
import { encodingOptions, maxLengthOf, pastPositions, type TrainOptions } from '../../options/index.js'
import type { Ranks } from '../../tensor/ranks.js'
import type { ModelFacts } from '../trainable.js'

/** A run's rows, by the steps that use them. */
export interface TrainingData {
  readonly totalSteps: number
  /** Maximum number of tokens in a row. */
  readonly maxLength: number
  readonly hash: string
  readonly evaluationHash: string | null
  readonly hasEvaluation: boolean
  /** The sources of the rows, for `run.yaml`. */
  readonly sources: { readonly data: readonly RecordedSource[]; readonly evalData?: readonly RecordedSource[] }
  /** How the sources were read, the evaluation data's after the others. */
  readonly reports: readonly SourceReport[]
  /** Returns the least size of the largest forward pass, in tokens: the longest row, or as many usual rows as fit. */
  largestPass(tokenBudget: number): number
  /** Special tokens that are targets. */
  readonly trainedSpecialTokens: DataSummary['trainedSpecialTokens']
  /** Returns the passes over the data after `step` optimizer steps. */
  epochAfter(step: number): number
  /** Returns the micro-batches of a schedule step, from 0. Without `microBatchSize`, each has at most `tokenBudget` tokens. */
  batches(step: number, tokenBudget: number): Iterable<Batch>
  evaluationBatches(tokenBudget: number): Iterable<Batch>
}

export interface TrainingDataOptions {
  objective: RunObjective
  ranks: Ranks
  notice: (message: string) => void
  signal?: AbortSignal
  /** Called repeatedly while rows are tokenised. */
  onTokenised?: DatasetOptions['onProgress']
}

/** Reads and tokenises the rows of a run. */
export async function loadTrainingData(
  model: Pick<ModelFacts, 'tokenizer' | 'config'>,
  options: TrainOptions,
  { objective, ranks, notice, signal, onTokenised }: TrainingDataOptions,
): Promise<TrainingData> {
  const { maxPositions, vocabularySize } = model.config
  const maxLength = maxLengthOf(options.maxLength, maxPositions)
  const past = pastPositions(maxLength, maxPositions)
  if (past) notice(past)
  const load = (source: readonly DataSource[], purpose: DataPurpose) =>
    objective.load(source, {
      ...encodingOptions(options),
      purpose,
      tokenizer: model.tokenizer,
      maxLength,
      vocabularySize,
      onWarning: notice,
      onProgress: onTokenised,
      signal,
    })
  const rows = await load(options.data ?? [], 'training')
  const evaluation = options.evalData ? await load(options.evalData, 'validation') : null
  const reports = sourceReports([...rows.parts, ...(evaluation?.parts ?? [])])
  for (const report of reports) notice(`${describeReport(report)}.`)
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
    reports,
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
