/** Methods of jobs, by OpenAI's names, and the options of `train` that a job stands for. */
import type { z } from 'zod'
import { UsageError } from '../common/errors.js'
import type { Model } from '../models/index.js'
import type { TrainInput, TrainSchema } from '../options/index.js'
import { newAdapterFields } from '../options/new-adapter.js'
import type { TrainOptions } from '../train/index.js'
import { resolveTrainOptions } from '../train/setup/resolve-options.js'
import { automaticBatchSize, automaticEpochs, automaticRate } from './automatic.js'
import type { FileKind, Hyperparameters, Job } from './records.js'

type OptionName = keyof typeof TrainSchema.shape

/** A method of jobs. */
export interface JobMethod {
  /** Kinds of files that it trains. */
  readonly kinds: readonly FileKind[]
  /** The rows of these, for errors. */
  readonly rows: string
  /** Factor of the automatic learning rate. */
  readonly rateFactor: number
  /** Its own hyperparameters, with their automatic values. */
  readonly hyperparameters: Readonly<Record<string, number>>
  /** Its fields beside hyperparameters. */
  readonly fields: Readonly<Record<string, z.ZodType>>
  /** Options of `train` that clients may give for it, beside those of every method. */
  readonly allowed: readonly OptionName[]
  /** Returns its options of `train`. */
  options(options: Job['options']): Partial<TrainOptions>
}

const supervised: JobMethod = {
  kinds: ['examples'],
  rows: 'messages, prompt and completion, or text',
  rateFactor: 1,
  hyperparameters: {},
  fields: {},
  allowed: ['labelSmoothing', 'zLoss', 'trainOn'],
  options: () => ({ objective: 'sft', tokenAccuracy: true }),
}

const dpo: JobMethod = {
  kinds: ['pairs'],
  rows: 'input, preferred_output and non_preferred_output, or prompt, chosen and rejected',
  rateFactor: 0.1,
  hyperparameters: { beta: 0.1 },
  fields: {},
  allowed: ['labelSmoothing', 'lossType', 'lossWeights', 'ldAlpha', 'useWeighting', 'precomputeReference'],
  options: ({ hyperparameters: { beta } }) => ({ objective: 'dpo', beta }),
}

export const JOB_METHODS: Readonly<Record<string, JobMethod>> = { supervised, dpo }

/** Options of an adapter that are expressions, which a client could make slow, or a rank by another method. */
const NOT_OF_CLIENTS: readonly string[] = ['alphaPattern', 'lambdaPattern', 'rankPattern', 'matchParametersOf']

/** Options of `train` that clients may give for every method: no paths, and nothing that changes the served model. */
export const CLIENT_OPTIONS: readonly OptionName[] = [
  ...(Object.keys(newAdapterFields) as OptionName[]).filter((name) => !NOT_OF_CLIENTS.includes(name)),
  'learningRate',
  'scheduler',
  'warmupSteps',
  'warmupRatio',
  'minLearningRateRatio',
  'weightDecay',
  'beta1',
  'beta2',
  'epsilon',
  'maxGradNorm',
  'maxSteps',
  'maxLength',
  'longRows',
  'neftuneAlpha',
  'shuffle',
  'packing',
  'microBatchSize',
  'gradientCheckpointing',
  'templateOptions',
]

/** Returns hyperparameters with numbers for those that are left to be chosen. */
export function resolvedHyperparameters(
  { hyperparameters: own }: JobMethod,
  rows: number,
  given: Readonly<Partial<Record<string, number>>>,
): Hyperparameters {
  const all = {
    ...own,
    n_epochs: automaticEpochs(rows),
    batch_size: automaticBatchSize(rows),
    learning_rate_multiplier: 1,
    ...given,
  }
  return { ...all, batch_size: Math.min(all.batch_size, rows) }
}

/**
 * Returns the options of a job's run, without its data and its output, and the same with their defaults.
 * @throws UsageError for options that do not go together
 */
export function runOptions(
  { objective, options: given, data }: Pick<Job, 'objective' | 'options' | 'data'>,
  model: Model,
) {
  const method = JOB_METHODS[objective]!
  const { n_epochs: epochs, batch_size: batchSize, learning_rate_multiplier: factor } = given.hyperparameters
  const { learningRate, ...mora } = given.mora as Partial<TrainInput>
  if (mora.method === 'full') {
    throw new UsageError('bad-value', 'Jobs train adapters beside the served model: leave the method full out.', {
      option: 'method',
    })
  }
  const input = { epochs, batchSize, seed: given.seed, ...method.options(given), ...mora } as TrainOptions
  const checked = resolveTrainOptions({ ...(input as TrainInput), data: ['training.jsonl'] })
  const rate = learningRate ?? method.rateFactor * automaticRate(model, checked)
  const stepsOfAnEpoch = Math.ceil(data.rows / batchSize)
  const everyEpoch = { saveEvery: stepsOfAnEpoch, ...(data.validation !== null && { evalEvery: stepsOfAnEpoch }) }
  return { settings: checked, options: { ...input, learningRate: rate * factor, keepCheckpoints: 3, ...everyEpoch } }
}
