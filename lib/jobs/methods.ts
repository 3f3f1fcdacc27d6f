/** Methods of jobs, by OpenAI's names, and the options of `train` that a job stands for. */
import { UsageError } from '../common/errors.js'
import type { Model } from '../models/index.js'
import type { TrainInput } from '../options/index.js'
import { newAdapterFields } from '../options/new-adapter.js'
import type { TrainOptions } from '../train/index.js'
import { resolveTrainOptions } from '../train/setup/resolve-options.js'
import { automaticBatchSize, automaticEpochs, automaticRate } from './automatic.js'
import { positiveTo } from './hyperparameters.js'
import type { JobMethod, MethodContext, OptionName } from './method.js'
import type { Hyperparameters, Job } from './records.js'
import { reinforcement } from './reinforcement.js'

const supervised: JobMethod = {
  kinds: ['examples'],
  rows: 'messages, prompt and completion, or text',
  rateFactor: 1,
  batchSize: automaticBatchSize,
  hyperparameters: {},
  fields: {},
  allowed: ['labelSmoothing', 'zLoss', 'trainOn'],
  options: (_, own) => ({ ...own, objective: 'sft', tokenAccuracy: true }),
}

const dpo: JobMethod = {
  kinds: ['pairs'],
  rows: 'input, preferred_output and non_preferred_output, or prompt, chosen and rejected',
  rateFactor: 0.1,
  batchSize: automaticBatchSize,
  hyperparameters: { beta: { ...positiveTo(1000), automatic: () => 0.1 } },
  fields: {},
  allowed: ['labelSmoothing', 'lossType', 'lossWeights', 'ldAlpha', 'useWeighting', 'precomputeReference'],
  options: ({ hyperparameters: { beta } }, own, { reference }) => ({
    ...own,
    objective: 'dpo',
    beta,
    ...(reference !== null && { referenceAdapter: reference }),
  }),
}

export const JOB_METHODS: Readonly<Record<string, JobMethod>> = { supervised, dpo, reinforcement }

/** Options of an adapter that are expressions, which a client could make slow, or a rank by another method. */
const NOT_OF_CLIENTS: readonly string[] = ['alphaPattern', 'lambdaPattern', 'rankPattern', 'matchParametersOf']

/** Options that describe an adapter. */
export const ADAPTER_OPTIONS = Object.keys(newAdapterFields) as OptionName[]

/** Options of `train` that clients may give for every method: no paths, and nothing that changes the served model. */
export const CLIENT_OPTIONS: readonly OptionName[] = [
  ...ADAPTER_OPTIONS.filter((name) => !NOT_OF_CLIENTS.includes(name)),
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
  { batchSize, hyperparameters }: JobMethod,
  rows: number,
  given: Readonly<Partial<Record<string, number>>>,
): Hyperparameters {
  const shared = { n_epochs: automaticEpochs(rows), batch_size: batchSize(rows), learning_rate_multiplier: 1, ...given }
  const known: Hyperparameters = { ...shared, batch_size: Math.min(shared.batch_size, rows) }
  const own = Object.entries(hyperparameters).flatMap(([name, { automatic }]) =>
    automatic ? [[name, given[name] ?? automatic(known, rows)] as const] : [],
  )
  return { ...known, ...Object.fromEntries(own) }
}

/**
 * Returns the options of a job's run, without its data and its output, and the same with their defaults.
 * @throws UsageError for options that do not go together
 */
export function runOptions(
  { objective, options: given, data, continues }: Pick<Job, 'objective' | 'options' | 'data' | 'continues'>,
  model: Model,
  context: MethodContext,
) {
  const method = JOB_METHODS[objective]!
  const { n_epochs: epochs, batch_size: batchSize, learning_rate_multiplier: factor } = given.hyperparameters
  const { learningRate, ...mora } = given.mora as Partial<TrainInput>
  if (mora.method === 'full') {
    throw new UsageError('bad-value', 'Jobs train adapters beside the served model: leave the method full out.', {
      option: 'method',
    })
  }
  const isOwn = ([name]: readonly [string, unknown]) => method.allowed.some((one) => one === name)
  const options = Object.entries(mora)
  const own = method.options(given, Object.fromEntries(options.filter(isOwn)), context)
  const shared = Object.fromEntries(options.filter((one) => !isOwn(one)))
  const { objective: trained, ...input } = { epochs, batchSize, seed: given.seed, ...own, ...shared } as TrainOptions
  const isMade = typeof trained === 'object'
  const checked = resolveTrainOptions(
    { ...(input as TrainInput), ...(!isMade && { objective: trained }), data: ['training.jsonl'] },
    isMade ? { objective: trained } : {},
  )
  const rate = learningRate ?? method.rateFactor * automaticRate(model, checked)
  const stepsOfAnEpoch = Math.ceil(data.rows / batchSize)
  const { eval_interval: evalEvery = stepsOfAnEpoch } = given.hyperparameters
  const due = { saveEvery: stepsOfAnEpoch, ...(data.validation !== null && { evalEvery }) }
  const describes = (name: string) => ADAPTER_OPTIONS.some((one) => one === name)
  const kept = Object.entries(input).filter(([name]) => continues === null || !describes(name))
  return {
    settings: checked,
    // The files of a trained adapter describe it.
    options: {
      ...Object.fromEntries(kept),
      objective: trained,
      learningRate: rate * factor,
      keepCheckpoints: 3,
      ...due,
    } as TrainOptions,
  }
}
