/** The objective of a run: the rows that it reads, and their loss. */

import { aBatch, type Batch, boundsOf, targetWeights, weightOfTargets } from '../batches/batch.js'
import type { DatasetOptions, DatasetPart } from '../batches/dataset.js'
import type { Document, Example } from '../batches/examples/example.js'
import type { DataSummary } from '../batches/examples/summary.js'
import type { StepRow } from '../batches/step-rows.js'
import { aFlag, check, having, optionsSchema, positive } from '../common/arguments.js'
import type { Pooling } from '../nn/pooling.js'
import type { RowKindName } from '../rows/kinds/index.js'
import type { DataInput, DataSource } from '../rows/sources/source.js'
import type { OptionsSchema } from '../schema/option-facts.js'
import { mul, sub } from '../tensor/operations/arithmetic.js'
import { gather } from '../tensor/operations/indexing.js'
import { logSoftmax, logSumExp, sum } from '../tensor/operations/reductions.js'
import { concat } from '../tensor/operations/reshaping.js'
import { scope } from '../tensor/scope.js'
import { withRecording } from '../tensor/tape.js'
import { Tensor } from '../tensor/tensor.js'
import type { Rollout, SampleContext, SampledStep, SampleReuse } from './rollouts.js'
import type { WeightedSum } from './weighted-sum.js'

/** The scalar loss of a forward pass. */
export interface LossTensor {
  /** Whether it depends on a parameter; default true. */
  readonly requiresGrad?: boolean
  /** Reads its value. */
  item(): Promise<number>
  /** Computes gradients. `onGradient` is called with each parameter when its gradient is complete. */
  backward(options?: { onGradient?: (parameter: object) => void }): Promise<void>
  /** Frees it. */
  dispose(): void
}

/** The output of a forward pass; see `ModelOutput`. */
export interface States {
  /** Hidden states after the final norm, [N, D]. */
  readonly hidden: Tensor
  /** Returns the scores of each label by the model's head, [N, labels] float32; see `Model.addHead`. */
  scores(): Tensor
  /** Returns the float32 logits of rows [from, to). */
  logits(from?: number, to?: number): Tensor
  /** Returns Σ of body(logits, from, to) over chunks of rows, so that logits never exist as a whole. */
  sumOverLogits(body: (logits: Tensor, from: number, to: number) => Tensor): Tensor
  /** Returns the log-probability of a target of each row, [N] float32; see `tokenLogProbs`. */
  tokenLogProbs(targets: ArrayLike<number>, options?: { temperature?: number }): Tensor
  /** Frees its tensors once the backward pass has used them. */
  dispose(): void
}

/** The part of a model that losses need: of the trained model, or of a teacher. `Model` implements it. */
export interface ForwardModel {
  /** Path or hub id, which a run records. */
  readonly reference?: string
  /** Identity, which must be equal in a resumed run. */
  readonly base?: {
    /** Returns the hash of its weights; null for random weights. */
    identity(): {
      /** sha256, hexadecimal. */
      readonly hash: string
    } | null
  }
  /** Adapters. */
  readonly adapterSet?: {
    /** Returns the names of the active adapters. */
    activeNames(): readonly string[]
  }
  /**
   * Returns the sum of cross-entropies over the batch's targets, each times the weight of its row, [1] float32, and the sum of these
   * weights. Without `gradients` nothing is saved for a backward pass.
   */
  lossAsync(
    batch: Batch,
    options: { gradients: boolean },
  ): Promise<{
    /** The sum. */
    loss: LossTensor
    /** The sum of the targets' weights, by which the loss is divided: their number, if rows have no weights. */
    targetTokens: number
  }>
  /** Returns hidden states and logits of the batch, for other losses. The caller disposes of them. */
  forwardAsync(
    batch: Batch,
    options: { rows?: 'all' | 'targets' | ArrayLike<number>; gradients: boolean },
  ): Promise<States>
  /** Returns the same model with these adapters, by default the active ones; without any, the base model. */
  withAdapters?(adapters?: readonly string[]): ForwardModel
}

/** The loss of one forward pass. */
export interface BatchLoss {
  /** The sum of losses in the batch, [1] float32. The caller disposes of it. */
  readonly loss: LossTensor
  /**
   * The batch's part of the divisor, such as target tokens or pairs. Losses and weights of a step are summed over forward
   * passes and ranks, and divided once.
   */
  readonly weight: number
  /** A value for each of the objective's `metrics`. */
  readonly metrics?: Readonly<Record<string, WeightedSum>>
}

/** Options of computing the loss of a batch. */
export interface LossOptions {
  /** Whether gradients can flow to the model's parameters. */
  gradients: boolean
  /** Totals of the objective's `stepSums` over all batches of the step; absent: the batch is the step. */
  stepSums?: readonly number[]
  /** Per-row information returned by `sample`, by the row's index within the step. */
  rollouts?: ReadonlyMap<number, Rollout>
  /** Returns the `keep` values of a batch's targets; null before they are computed. */
  kept?: (batch: Batch) => Float32Array | null
}

/** Values of target tokens that training does not change, computed once before the first step. */
export interface KeptValues {
  /** Number of values per target. */
  readonly width: number
  /** Settings that the values depend on, beside rows, model and `hashes`; null if unknown, so that no later run reuses the values. */
  readonly settings: string | null
  /** Returns the values of all targets of a batch, in order. */
  of(model: ForwardModel, batch: Batch): Promise<Float32Array>
}

/** Numbers of a batch whose totals over the step a loss needs. */
export interface StepSums {
  /** Number of numbers. */
  readonly length: number
  /** Returns the numbers of a batch. */
  of(
    model: ForwardModel,
    batch: Batch,
    options?: Pick<LossOptions, 'kept'>,
  ): readonly number[] | Promise<readonly number[]>
}

/** An objective: the loss that a run minimises, and the conversion of rows to its batches. */
export interface Objective {
  /** Name in `run.yaml`. */
  readonly name: string
  /** Returns the loss of whole rows; the documents of a row are consecutive in the batch. */
  loss(model: ForwardModel, batch: Batch, options: LossOptions): Promise<BatchLoss>
  /** Data of a run without the option `data`. */
  readonly data?: DataInput
  /**
   * The kind of rows; default `examples`. A row of `pairs` is a chosen and a rejected completion, in two documents; a row of `labelled` is
   * a text with the number of its label; a row of `related` is an anchor, its positive and its negatives.
   */
  readonly rows?: RowKindName
  /** Totals over all forward passes and ranks of a step that `loss` needs. Default: none. */
  readonly stepSums?: StepSums
  /** Options of the objective, which the run records. */
  readonly options?: Readonly<Record<string, unknown>>
  /** Functions of a built-in objective's caller, by name; a resumed run must have equal ones. */
  readonly functions?: Readonly<Record<string, unknown>>
  /** Hashes of further inputs of the loss, by name; a resumed run must have equal ones. */
  readonly hashes?: Readonly<Record<string, string>>
  /** Values that the loss looks up for each target. Default: none. */
  readonly keep?: KeptValues | undefined
  /**
   * Names of further means, which events and `metrics.jsonl` contain beside the loss; equal for every batch. Default: none.
   */
  readonly metrics?: readonly string[]
  /**
   * The documents of a small row. Its loss is computed before the first step, to find operations that the device lacks. Default: two
   * tokens.
   */
  readonly smallRow?: readonly Document[]
  /**
   * Reads and tokenises the rows of a run, all before the first step. Default: the rows of `loadDataset`, or of a stream, which is
   * read as steps need it.
   */
  load?(source: readonly DataSource[], options: DatasetOptions): Promise<ObjectiveRows>
  /** Makes the rows that a step trains from the rows of its data, such as rollouts of prompts. Default: no change. */
  readonly sample?: (rows: readonly StepRow[], context: SampleContext) => Promise<SampledStep>
  /** Answers that are sampled to each row of the evaluation data. Default: 1. */
  readonly evaluationAnswers?: number
  /** The reuse of sampled rows in several steps. Default: one step. */
  readonly reuse?: SampleReuse
  /** Pooling of the hidden states of a text; saved with the adapter. Default: no pooling. */
  readonly pooling?: Pooling
  /** Returns the labels of the head to train, once the rows are loaded. Default: no head. */
  labels?(): readonly string[]
  /** Returns the objective for a run, before its rows are read. Default: no change. */
  prepare?(run: {
    /** Rows per step. */
    readonly batchSize: number
    /** The trained model. */
    readonly model: {
      /** Labels of its head; null without a head. */
      readonly labels: readonly string[] | null
      /** Pooling of hidden states according to its files; null or absent if it is unknown. */
      readonly pooling?: Pooling | null
      /** Why its files' pooling is not supported; null or absent if it is. */
      readonly unsupportedPooling?: string | null
    }
    /**
     * Returns a model with the vocabulary of the trained one; the run loads it if it is a path or hub id, and disposes of it.
     * @throws UsageError `other-vocabulary` if a token has another id
     */
    teacher(model: ForwardModel | string): Promise<ForwardModel>
  }): Objective | Promise<Objective>
}

/** An objective of the library: its name, its options, and the function that makes it of them. */
export interface BuiltInObjective {
  /** Name, the value of `--objective`. */
  readonly name: string
  /** Description for help; follows the name. */
  readonly help: string
  /** The options of `make`; flags, YAML, help, docs and types are made from them. */
  readonly schema: OptionsSchema
  /** The kind of rows; default `examples`. */
  readonly rows?: RowKindName
  /** Returns the objective with these options. */
  make(options: object): Objective | Promise<Objective>
  /** Whether the loss needs the reference model, the model without the trained adapter, with these options of a run. */
  readonly needsReference?: (options: Readonly<Record<string, unknown>>) => boolean
  /** Options that a run must have. */
  readonly needs?: readonly string[]
}

/** An objective with its options and defaults. */
export type RunObjective = Required<
  Pick<Objective, 'name' | 'loss' | 'rows' | 'hashes' | 'metrics' | 'smallRow' | 'evaluationAnswers' | 'reuse'>
> &
  Pick<Objective, 'load' | 'labels' | 'pooling' | 'stepSums' | 'sample' | 'keep'>

/** A document of a small row. */
export const TWO_TOKENS: Document = { ids: Int32Array.of(0, 0), mask: Uint8Array.of(1, 1) }

/** Completes an objective with defaults. */
export function runObjective(own: Objective): RunObjective {
  return {
    name: own.name,
    hashes: own.hashes ?? {},
    keep: own.keep,
    metrics: own.metrics ?? [],
    rows: own.rows ?? 'examples',
    stepSums: own.stepSums,
    smallRow: own.smallRow ?? [TWO_TOKENS],
    load: own.load?.bind(own),
    sample: own.sample?.bind(own),
    evaluationAnswers: own.evaluationAnswers ?? 1,
    reuse: own.reuse ?? { steps: 1, times: 1 },
    labels: own.labels?.bind(own),
    pooling: own.pooling,
    loss: (model, batch, how) => own.loss(model, batch, how),
  }
}

/**
 * Returns Σ of the losses of all tokens with a target, each times the weight of its row. `body` returns the losses [n] of targets
 * [from, to), given their logits [n, V] float32 and their n ids. The logits never exist as a whole.
 */
export async function sumOverTargets(
  model: ForwardModel,
  batch: Batch,
  { gradients }: { gradients: boolean },
  body: (logits: Tensor, targets: Int32Array, from: number, to: number) => Tensor,
): Promise<BatchLoss> {
  const weights = targetWeights(batch)
  const loss = await ofTargets(model, batch, gradients, (states, targets) =>
    states.sumOverLogits((logits, from, to) => {
      const losses = body(logits, targets.subarray(from, to), from, to)
      if (!weights) return sum(losses)
      return sum(mul(losses, Tensor.from(weights.subarray(from, to), [to - from], { device: losses.device })))
    }),
  )
  return { loss, weight: weightOfTargets(batch) }
}

/** Returns the index of each document's last token. */
export const lastRows = (batch: Batch): Int32Array =>
  Int32Array.from({ length: batch.rows }, (_, document) => boundsOf(batch, document)[1] - 1)

/** Returns the scores of each document by the model's head, at its last token: [B, labels] float32. */
export async function lastScores(model: ForwardModel, batch: Batch, gradients: boolean): Promise<Tensor> {
  const states = await model.forwardAsync(batch, { rows: lastRows(batch), gradients })
  try {
    return withRecording(gradients, () => states.scores())
  } finally {
    states.dispose()
  }
}

const tokenLogProbsArguments = {
  model: having('a model', 'forwardAsync'),
  batch: aBatch,
  options: optionsSchema('the options of tokenLogProbs', {
    temperature: positive.optional(),
    gradients: aFlag.optional(),
  }),
}

/** Options of `tokenLogProbs`. */
export interface TokenLogProbsOptions {
  /** Divides the logits; default 1. */
  temperature?: number
  /** Whether gradients can flow to the model's parameters; default true. */
  gradients?: boolean
}

/**
 * Returns the natural log-probability of every target of the batch, in order: [targets] float32, with gradients. The logits
 * never exist as a whole. The caller disposes of it, or it belongs to the scope. `model.tokenLogProbs` returns their values.
 *
 * ```ts
 * import { loadModel, packBatch, tokenLogProbs } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const batch = packBatch([{ ids: [5, 17, 3, 9], mask: [0, 0, 1, 1], row: 0 }])
 * using logProbs = await tokenLogProbs(model, batch, { gradients: false })
 * console.log(await logProbs.data()) // of the ids 3 and 9
 * ```
 */
export async function tokenLogProbs(
  model: ForwardModel,
  batch: Batch,
  options: TokenLogProbsOptions = {},
): Promise<Tensor> {
  check({ model, batch, options }, tokenLogProbsArguments)
  const { temperature = 1, gradients = true } = options
  return ofTargets(model, batch, gradients, (states, targets) => states.tokenLogProbs(targets, { temperature }))
}

/** Tokens whose whole logits are in memory at a time. */
export const LOGITS_AT_ONCE = 64

/**
 * Returns ln p − ln Σ_v p_v² of every target of the batch, [targets] float32 without gradients: its log-probability relative to what
 * the model expects of its own samples.
 */
export function targetPurity(model: ForwardModel, batch: Batch): Promise<Tensor> {
  return ofTargets(model, batch, false, (states, targets) => {
    const parts: Tensor[] = []
    for (let from = 0; from < targets.length; from += LOGITS_AT_ONCE) {
      const to = Math.min(targets.length, from + LOGITS_AT_ONCE)
      const ofChunk = () => {
        const logP = logSoftmax(states.logits(from, to))
        return sub(gather(logP, targets.subarray(from, to)), logSumExp(mul(logP, 2)))
      }
      parts.push(scope(ofChunk))
    }
    return scope(() => concat(parts))
  })
}

/** Returns the result of `body` on the states of the tokens that have a target, and on their targets. */
async function ofTargets(
  model: ForwardModel,
  batch: Batch,
  gradients: boolean,
  body: (states: States, targets: Int32Array) => Tensor,
): Promise<Tensor> {
  const states = await model.forwardAsync(batch, { rows: 'targets', gradients })
  const targets = batch.targets.filter((target) => target >= 0)
  try {
    return withRecording(gradients, () => body(states, targets))
  } finally {
    states.dispose()
  }
}

/** Rows of an objective that are all in memory, like the rows of a `Dataset`. */
export interface ObjectiveRows {
  /** Number of rows. */
  readonly length: number
  /** Returns the number of tokens of a row, in all its documents. */
  rowLength(index: number): number
  /** Returns a row. */
  row(index: number): Example
  /** Tokens, and special tokens among the targets. */
  readonly summary: Pick<DataSummary, 'tokens' | 'trainedSpecialTokens'>
  /** The sources in order. */
  readonly parts: readonly (Pick<DatasetPart, 'rows' | 'weight' | 'source'> & Partial<DatasetPart>)[]
  /** A hash of all rows, which must be equal in a resumed run. */
  readonly hash: string
}
