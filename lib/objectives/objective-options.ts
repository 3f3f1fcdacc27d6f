/** Options of objectives: one declaration each, from which `train`, the command line and the objectives' functions have them. */
import { z } from 'zod'
import { UsageError } from '../common/errors.js'
import { optionName } from '../common/option-names.js'
import { POOLINGS } from '../nn/pooling.js'
import {
  choices,
  names,
  numbersByName,
  optionalChoice,
  optionalFlag,
  optionalInteger,
  optionalReal,
  real,
  reals,
  text,
} from '../schema/option.js'
import { type LibraryInput, optionFacts } from '../schema/option-facts.js'
import { parseOptions } from '../schema/parse.js'
import { POLICY_LOSSES, SAMPLING_CORRECTIONS } from './policy-loss.js'

const group = 'Objectives:'

/** The least default learning rate of a head of labels: its values are random at first, and an adapter's rate hardly moves them. */
export const HEAD_RATE = 2e-3

/** The losses of each objective that has several, by TRL's names; the first is the default. */
const LOSS_TYPES = {
  dpo: [
    'sigmoid',
    'hinge',
    'ipo',
    'robust',
    'exo_pair',
    'nca_pair',
    'bco_pair',
    'sppo_hard',
    'aot',
    'aot_unpaired',
    'apo_zero',
    'apo_down',
    'discopop',
    'sigmoid_norm',
    'sft',
  ],
  cpo: ['sigmoid', 'hinge', 'ipo'],
  kto: ['kto', 'apo_zero_unpaired'],
  grpo: POLICY_LOSSES,
} as const

const ALL_LOSS_TYPES = [...LOSS_TYPES.dpo, ...LOSS_TYPES.kto, ...LOSS_TYPES.grpo] as const

/** A loss of an objective, by TRL's name. */
export type LossType<Name extends keyof typeof LOSS_TYPES> = (typeof LOSS_TYPES)[Name][number]

const policy = { objectives: ['grpo'], group: "Objectives of the model's own answers:" }

/** Options of objectives that learn from answers of the model itself, mostly by TRL's names. */
const policyFields = {
  rewards: text('JavaScript or TypeScript module: the functions that it exports are the rewards of answers', 'FILE', {
    expects: 'the path of a module',
    ...policy,
  }),
  rewardWeights: reals('weights of the rewards, in their order', { defaultText: '1 each', ...policy }),
  groupSize: optionalInteger('number of completions per prompt', {
    min: 2,
    defaultText: '8',
    ...policy,
  }),
  maxNewTokens: optionalInteger('tokens of an answer at most, all its turns together', {
    min: 1,
    defaultText: '256',
    ...policy,
    objectives: ['grpo', 'distill'],
  }),
  onPolicy: optionalFlag(
    'imitate the teacher in answers of the model itself to prompts, in place of those of the data',
    {
      ...policy,
      objectives: ['distill'],
    },
  ),
  maxTurns: optionalInteger('turns of an episode at most, between which functions or an environment answer', {
    min: 1,
    defaultText: '8',
    ...policy,
  }),
  temperature: optionalReal(
    'divides the logits, in sampling and in training, those of model and teacher (distill), or cosines (embed)',
    {
      above: 0,
      defaultText: '1; 0.05 of embed',
      objectives: ['grpo', 'distill', 'embed'],
      group: policy.group,
    },
  ),
  topK: optionalInteger('sample from the K likeliest tokens; 0: from all', { min: 0, defaultText: '0', ...policy }),
  topP: optionalReal('sample from the fewest likeliest tokens with this probability together', {
    above: 0,
    max: 1,
    defaultText: '1',
    ...policy,
  }),
  clipEpsilon: optionalReal('how far the ratio of probabilities may go before it is clipped (epsilon of TRL)', {
    min: 0,
    defaultText: '0.2',
    ...policy,
  }),
  epsilonHigh: optionalReal('the same above 1; the largest weight of cispo', {
    min: 0,
    defaultText: 'the same as below 1',
    ...policy,
  }),
  delta: optionalReal('maximum of a ratio where it is not clipped', {
    above: 1,
    defaultText: 'no limit',
    ...policy,
  }),
  importanceSamplingLevel: optionalChoice('whose ratio is compared', ['token', 'sequence'], {
    defaultText: 'token; sequence is GSPO',
    ...policy,
  }),
  scaleRewards: optionalChoice("whose deviation divides a group's rewards", ['group', 'batch', 'none'], {
    defaultText: 'group',
    ...policy,
  }),
  multiObjectiveAggregation: optionalChoice(
    'how several rewards become one',
    ['sum_then_normalize', 'normalize_then_sum'],
    { defaultText: 'sum_then_normalize', ...policy },
  ),
  useBiasCorrectionKl: optionalFlag('multiply the divergence from the reference by the ratio', {
    defaultText: 'true',
    ...policy,
  }),
  maskTruncatedCompletions: optionalFlag('leave answers that reached the limit of tokens out of the loss', policy),
  entropyCoef: optionalReal('weight of the entropy of tokens, which is then raised', {
    min: 0,
    defaultText: '0',
    ...policy,
  }),
  offPolicyMaskThreshold: optionalReal('leave bad answers out that have become less likely by this, per token', {
    above: 0,
    defaultText: 'no limit',
    ...policy,
  }),
  importanceSamplingMode: optionalChoice(
    "make up for the sampler's probabilities, where they are not those of training",
    SAMPLING_CORRECTIONS,
    { defaultText: 'not', ...policy },
  ),
  importanceSamplingMin: optionalReal('least factor of it', { min: 0, defaultText: '0', ...policy }),
  importanceSamplingMax: optionalReal('largest factor of it', { above: 0, defaultText: '3', ...policy }),
  stepsPerGeneration: optionalInteger('steps whose answers are sampled at once', {
    min: 1,
    defaultText: '1',
    ...policy,
  }),
  numIterations: optionalInteger('times that each answer is trained', { min: 1, defaultText: '1', ...policy }),
  rewardConcurrency: optionalInteger('rewards that are computed at once', { min: 1, defaultText: '16', ...policy }),
  rewardTimeout: optionalReal('seconds that a reward has', {
    above: 0,
    placeholder: 'S',
    defaultText: '60',
    ...policy,
  }),
  toolTimeout: optionalReal('seconds that a function or an environment has', {
    above: 0,
    placeholder: 'S',
    defaultText: '30',
    ...policy,
  }),
  failedReward: optionalReal('the reward in place of one that fails', {
    defaultText: 'the run ends',
    ...policy,
  }),
}

export const objectiveFields = {
  labelSmoothing: real(
    "share of a target's probability that all tokens get in equal parts (sft), or of pairs whose order is wrong",
    0,
    { min: 0, max: 1, objectives: ['sft', 'dpo', 'cpo'], group },
  ),
  zLoss: real(
    "weight of the squared logarithm of a token's sum of exponentials of logits, which keeps logits small",
    0,
    {
      min: 0,
      objectives: ['sft'],
      group,
    },
  ),
  beta: optionalReal(
    'how much leaving the reference costs, the scale of what is compared, or from forward (0) to reverse (1) KL (distill)',
    {
      min: 0,
      defaultText: '0.1; 2 of simpo; 0 of grpo; 0.5 of distill',
      objectives: ['dpo', 'kto', 'orpo', 'cpo', 'simpo', 'grpo', 'distill'],
      group,
    },
  ),
  lossType: choices("losses, by TRL's names", ALL_LOSS_TYPES, {
    defaultText: 'sigmoid; kto of kto; dapo of grpo',
    objectives: ['dpo', 'cpo', 'kto', 'grpo'],
    group,
  }),
  lossWeights: reals('weights of several losses', { defaultText: '1 each', objectives: ['dpo'], group }),
  ldAlpha: optionalReal("weight of an answer's tokens past the length of the shorter one", {
    min: 0,
    max: 1,
    defaultText: '1',
    objectives: ['dpo'],
    group,
  }),
  useWeighting: optionalFlag('weigh pairs by how probable their answers are for the model (WPO)', {
    objectives: ['dpo'],
    group,
  }),
  fDivergenceType: optionalChoice(
    'the divergence from the reference',
    ['reverse_kl', 'forward_kl', 'js_divergence', 'alpha_divergence'],
    { defaultText: 'reverse_kl', objectives: ['dpo'], group },
  ),
  fAlphaDivergenceCoef: optionalReal('α of alpha_divergence', { defaultText: '0.5', objectives: ['dpo'], group }),
  discopopTau: optionalReal('temperature of discopop', { above: 0, defaultText: '0.05', objectives: ['dpo'], group }),
  referenceAdapter: text('adapter of the reference, a folder or hub id, in place of none', 'A', {
    expects: 'the path of an adapter folder, or its hub id',
    library: { description: "name of the model's adapter that is the reference, in place of none", expects: 'a name' },
    hub: 'adapter',
    objectives: ['dpo', 'kto'],
    group,
  }),
  precomputeReference: optionalFlag(
    'compute the reference once, before the first step, and keep it in the output folder',
    {
      objectives: ['dpo', 'kto'],
      group,
    },
  ),
  desirableWeight: optionalReal('weight of good answers', { min: 0, defaultText: '1', objectives: ['kto'], group }),
  undesirableWeight: optionalReal('weight of bad answers', { min: 0, defaultText: '1', objectives: ['kto'], group }),
  centerRewardsCoefficient: optionalReal('weight of the square of the sum of both rewards, which centres them at 0', {
    min: 0,
    defaultText: '0',
    objectives: ['reward'],
    group,
  }),
  pooling: optionalChoice('how the states of a text become one: their mean, or that of its last token', POOLINGS, {
    defaultText: "as the model's files say, else mean",
    objectives: ['embed'],
    group,
  }),
  labels: names('names of the labels, in order; a number in the data is a place in them', {
    defaultText: "the model's, else those of the data, sorted",
    objectives: ['classify'],
    group,
  }),
  classWeights: numbersByName(
    "weights of the labels' rows: balanced gives all labels the same sum; a label that is not named has 1",
    'balanced',
    { defaultText: '1 each', objectives: ['classify'], group },
  ),
  headLearningRate: optionalReal('peak learning rate of the head that is trained with the adapter', {
    above: 0,
    defaultText: `${HEAD_RATE}, or the adapter's rate if that is higher`,
    objectives: ['classify', 'reward'],
    group,
  }),
  cpoAlpha: optionalReal('weight of the likelihood of chosen answers', {
    min: 0,
    defaultText: '1; 0 of simpo',
    objectives: ['cpo', 'simpo'],
    group,
  }),
  simpoGamma: optionalReal('the margin between rewards of chosen and rejected answers', {
    min: 0,
    defaultText: '1',
    objectives: ['simpo'],
    group,
  }),
  alphapoAlpha: optionalReal('shape of rewards: 0 is SimPO, other values AlphaPO', {
    defaultText: '0',
    objectives: ['simpo'],
    group,
  }),
  ...policyFields,
  teacher: text('the model that is imitated: a path or hub id, with the same vocabulary', 'M', {
    expects: 'the path or hub id of a model',
    hub: 'model',
    objectives: ['distill'],
    resume: 'free',
    group,
  }),
  teacherTopK: optionalInteger(
    "compute the teacher's K likeliest tokens once, before the first step, and keep them in the output folder",
    {
      min: 1,
      defaultText: 'all tokens, in each step',
      objectives: ['distill'],
      group,
    },
  ),
}

export const ObjectiveSchema = z.strictObject(objectiveFields)
export type ObjectiveInput = LibraryInput<typeof ObjectiveSchema>
type ObjectiveSettings = z.output<typeof ObjectiveSchema>

const namesOf = (objective: string): (keyof ObjectiveSettings)[] =>
  (Object.keys(objectiveFields) as (keyof ObjectiveSettings)[]).filter((name) =>
    optionFacts(objectiveFields[name]).objectives?.includes(objective),
  )

const pick = (objective: string, from: object): Record<string, unknown> => {
  const all = from as Readonly<Record<string, unknown>>
  return Object.fromEntries(namesOf(objective).flatMap((name) => (all[name] === undefined ? [] : [[name, all[name]]])))
}

/** Returns the options of a run that an objective has. */
export const optionsOf = <Input>(objective: string, options: object): Input => pick(objective, options) as Input

/** Checks the options of an objective. @throws UsageError with the wrong one */
export function checkedOptions(objective: string, options: object): ObjectiveSettings {
  const fields = Object.fromEntries(namesOf(objective).map((name) => [name, objectiveFields[name]]))
  const settings = parseOptions(z.strictObject(fields), options) as ObjectiveSettings
  requireBeta(objective, settings)
  const types: readonly string[] = LOSS_TYPES[objective as keyof typeof LOSS_TYPES] ?? []
  const other = settings.lossType?.find((type) => !types.includes(type))
  if (other === undefined) return settings
  throw new UsageError(
    'bad-value',
    `Expected losses of ${objective} (${types.join(', ')}) for ${optionName('lossType')} but received ${other}.`,
  )
}

function requireBeta(objective: string, { beta }: ObjectiveSettings): void {
  const isShare = objective === 'distill'
  if (beta === undefined || (isShare ? beta <= 1 : beta > 0 || objective === 'grpo')) return
  const range = isShare ? 'from 0 to 1' : 'above 0'
  throw new UsageError('bad-value', `Expected a number ${range} for beta of ${objective} but received ${beta}.`)
}
