import type { Batch } from '../batches/batch.js'
import { type DatasetOptions, loadDataset, loadOpened } from '../batches/dataset.js'
import { countTokens } from '../batches/examples/example.js'
import { describeReport, type SourceReport, sourceReports } from '../batches/examples/report.js'
import { type DataSummary, SpecialTargets } from '../batches/examples/summary.js'
import { microBatches } from '../batches/packing.js'
import { type SampledOptions, SampledRows, type StepRow, type StepRows } from '../batches/step-rows.js'
import { openForTraining } from '../batches/stream/open-for-training.js'
import { RowStream, type StreamOptions } from '../batches/stream/row-stream.js'
import { UsageError } from '../common/errors.js'
import { TheOption } from '../common/option-names.js'
import type { Model } from '../models/model.js'
import type { ObjectiveRows, RunObjective } from '../objectives/objective.js'
import { encodingOptions, maxLengthOf, pastPositions, type TrainSettings } from '../options/index.js'
import type { DataPurpose } from '../rows/files/data-files.js'
import type { RowChoices } from '../rows/row-choices.js'
import type { RecordedSource } from '../rows/sources/source.js'
import type { Ranks } from '../tensor/ranks.js'
import type { Tokenizer } from '../text/tokenizer.js'
import type { RunFacts } from './run-facts.js'

/** The training rows of a run, and its evaluation rows. */
export interface RunRows {
  /** The rows by the steps that use them. */
  readonly steps: StepRows
  /** The steps of the evaluation data, as large as the steps of the run; null if there is none. */
  readonly evaluation: { readonly steps: StepRows; readonly hash: string } | null
  /** Maximum number of tokens in a row. */
  readonly maxLength: number
  /** Rows of a stream among which the next is drawn; 0: all rows were read, though they are many. */
  readonly shuffleBuffer?: number | undefined
  /** A hash of all rows; of a stream, of its settings. */
  readonly hash: string
  /** The records of a stream up to its first step here, as sha256, since `hash` does not depend on them. */
  readonly firstRows?: string
  /** The sources of the rows, for `run.yaml`. */
  readonly sources: { readonly data: readonly RecordedSource[]; readonly evalData?: readonly RecordedSource[] }
  /** Special tokens that are targets. */
  readonly trainedSpecialTokens: DataSummary['trainedSpecialTokens']
  /** The rows of the data and of the evaluation data; null for a stream. */
  readonly allRows: readonly ObjectiveRows[] | null
  /** Returns how the sources were read, the evaluation data's after the others. */
  reports(): SourceReport[]
  /** Returns the least size of the largest forward pass, in tokens: the longest row, or as many usual rows as fit. */
  largestPass(tokenBudget: number): number
  /** Returns the micro-batches of rows. Without `microBatchSize`, each has at most `tokenBudget` tokens. */
  batchesOf(rows: readonly StepRow[], tokenBudget: number): Iterable<Batch>
  /** Returns notes for the user about rows that were read during the run. */
  notes(): string[]
}

interface RunRowsOptions {
  objective: RunObjective
  ranks: Ranks
  notice: (message: string) => void
  signal?: AbortSignal | undefined
  /** Ends reading rows before the first step. */
  reading?: AbortSignal | undefined
  /** Called repeatedly while rows are tokenised. */
  onTokenised?: DatasetOptions['onProgress']
  /** The program's functions that change and choose rows. */
  choices?: RowChoices | undefined
  /** Where a stream continues, and the options that the run to resume has recorded. */
  from?:
    | (Required<Pick<StreamOptions, 'step' | 'place' | 'isVerified'>> & { recorded: RunFacts['options'] })
    | undefined
}

/** Reads and tokenises the rows of a run: all of them, or for a stream the rows of the first step. */
export async function loadRunRows(
  model: Model,
  options: TrainSettings,
  { objective, ranks, notice, signal, reading, onTokenised, choices, from }: RunRowsOptions,
): Promise<RunRows> {
  const { maxPositions, vocabularySize } = model.config
  const maxLength = maxLengthOf(options.maxLength, maxPositions)
  const past = pastPositions(maxLength, maxPositions)
  if (past) notice(past)
  const { batchSize, microBatchSize, packing } = options
  const datasetOptions = (purpose: DataPurpose): DatasetOptions & { signal: AbortSignal } => ({
    ...encodingOptions(options),
    maxTokens: choices?.maxTokens,
    ...(purpose === 'training' && choices),
    rows: objective.rows,
    purpose,
    tokenizer: model.tokenizer,
    maxLength,
    vocabularySize,
    onWarning: notice,
    onProgress: onTokenised,
    signal: AbortSignal.any([signal, reading].filter((one) => one !== undefined)),
  })
  const { longest, tokensOfARow, parts, ...rows } = await trainingRows(options, datasetOptions('training'), {
    objective,
    ranks,
    from,
    tokenizer: model.tokenizer,
  })
  const loadAll = objective.load ?? loadDataset
  const evaluation = options.evalData ? await loadAll(options.evalData, datasetOptions('validation')) : null
  const reports = () => sourceReports([...parts(), ...(evaluation?.parts ?? [])])
  if (rows.allRows) for (const report of reports()) notice(`${describeReport(report)}.`)
  const inOrder = { batchSize, seed: 0, shuffle: false, epochs: 1, rank: ranks.rank, size: ranks.size }
  return {
    ...rows,
    evaluation: evaluation && { hash: evaluation.hash, steps: new SampledRows(evaluation, inOrder) },
    maxLength,
    reports,
    sources: { data: sourcesOf(parts()), ...(evaluation && { evalData: sourcesOf(evaluation.parts) }) },
    largestPass(tokenBudget) {
      const usual = Math.floor((microBatchSize ?? batchSize) * tokensOfARow)
      return Math.max(longest, microBatchSize === undefined ? Math.min(usual, tokenBudget) : usual)
    },
    batchesOf: (step, tokenBudget) =>
      microBatches(step, microBatchSize === undefined ? { tokenBudget, packing } : { microBatchSize, packing }),
    allRows: rows.allRows && [...rows.allRows, ...(evaluation ? [evaluation] : [])],
  }
}

/** The rows that a run trains. */
interface TrainingRows
  extends Pick<
    RunRows,
    'steps' | 'shuffleBuffer' | 'hash' | 'firstRows' | 'trainedSpecialTokens' | 'allRows' | 'notes'
  > {
  /** Returns the sources, as far as they are read. */
  parts(): ObjectiveRows['parts']
  /** Tokens of the longest row, and of a usual one; of a stream, as far as it is read. */
  readonly longest: number
  readonly tokensOfARow: number
}

type RowParts = Pick<RunRowsOptions, 'objective' | 'ranks' | 'from'> & { tokenizer: Tokenizer | null }

async function trainingRows(
  options: TrainSettings,
  how: DatasetOptions & { signal: AbortSignal },
  { objective, ranks, from, tokenizer }: RowParts,
): Promise<TrainingRows> {
  const { batchSize, seed, shuffle, epochs, maxSteps, data = [] } = options
  const order = { batchSize, seed, shuffle, rank: ranks.rank, size: ranks.size }
  if (objective.load) {
    if (options.shuffleBuffer)
      throw new UsageError(
        'unfit-options',
        `${TheOption('shuffleBuffer')} is of rows that are read as steps need them, but ${objective.name} reads all before the first step.`,
      )
    return rowsInMemory(await objective.load(data, how), { ...order, epochs, maxSteps, reuse: objective.reuse })
  }
  // A resumed run goes on as it began.
  const wasInMemory = from !== undefined && from.step > 0 && from.place === null
  const opened = await openForTraining(data, how, wasInMemory ? { ...options, shuffleBuffer: 0 } : options)
  const { sources, shuffleBuffer } = opened
  if (!shuffleBuffer) {
    const { dataset } = await loadOpened(sources, how)
    const recorded =
      options.shuffleBuffer ?? (wasInMemory ? (from.recorded.shuffleBuffer as number | undefined) : shuffleBuffer)
    return { ...rowsInMemory(dataset, { ...order, epochs, maxSteps }), shuffleBuffer: recorded }
  }
  // In another order other records precede the place; the option that changed is reported later.
  const isSameOrder = Object.entries({ batchSize, seed, shuffle, shuffleBuffer }).every(
    ([name, value]) => value === from?.recorded[name],
  )
  const stream = await RowStream.open(sources, how, {
    ...order,
    signal: how.signal,
    maxSteps: maxSteps!,
    shuffleBuffer,
    ...(from && { ...from, isVerified: from.isVerified && isSameOrder }),
  })
  const { hash, first } = stream
  const specialTargets = new SpecialTargets(tokenizer)
  for (const row of first.rows) specialTargets.add(row)
  const lengths = first.rows.map(({ documents }) => countTokens(documents))
  return {
    steps: stream,
    allRows: null,
    shuffleBuffer,
    notes: () => stream.notes(),
    hash,
    firstRows: first.place.map(({ sha256 }) => sha256).join(),
    parts: () => stream.parts,
    longest: Math.max(0, ...lengths),
    tokensOfARow: lengths.reduce((sum, length) => sum + length, 0) / Math.max(1, lengths.length),
    trainedSpecialTokens: specialTargets.counts(),
  }
}

function rowsInMemory(rows: ObjectiveRows, options: SampledOptions): TrainingRows {
  return {
    steps: new SampledRows(rows, { ...options, parts: rows.parts }),
    allRows: [rows],
    notes: () => [],
    hash: rows.hash,
    parts: () => rows.parts,
    longest: longestRow(rows),
    tokensOfARow: rows.summary.tokens / rows.length,
    trainedSpecialTokens: rows.summary.trainedSpecialTokens,
  }
}

const sourcesOf = (parts: ObjectiveRows['parts']): RecordedSource[] => parts.map(({ source }) => source)

function longestRow(rows: ObjectiveRows): number {
  let longest = 0
  for (let index = 0; index < rows.length; index++) longest = Math.max(longest, rows.rowLength(index))
  return longest
}
