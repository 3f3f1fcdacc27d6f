/** Options of objectives: one declaration each, from which `train`, the command line and the objectives' functions have them. */
import { z } from 'zod'
import { UsageError } from '../common/errors.js'
import { choices, optionalChoice, optionalFlag, optionalReal, real, reals, text } from '../schema/option.js'
import { type LibraryInput, optionFacts } from '../schema/option-facts.js'
import { parseOptions } from '../schema/parse.js'

const group = 'Objectives of answers:'

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
    'apo_zero',
    'apo_down',
    'discopop',
    'sigmoid_norm',
    'sft',
  ],
  cpo: ['sigmoid', 'hinge', 'ipo'],
  kto: ['kto', 'apo_zero_unpaired'],
} as const

const ALL_LOSS_TYPES = [...LOSS_TYPES.dpo, ...LOSS_TYPES.kto] as const

/** A loss of an objective, by TRL's name. */
export type LossType<Name extends keyof typeof LOSS_TYPES> = (typeof LOSS_TYPES)[Name][number]

export const objectiveFields = {
  labelSmoothing: real(
    "share of a target's probability that all tokens get in equal parts (sft), or of pairs whose order is wrong",
    0,
    { min: 0, max: 1, objectives: ['sft', 'dpo', 'cpo'], group },
  ),
  beta: optionalReal('how much leaving the reference costs, or the scale of what is compared', {
    above: 0,
    defaultText: '0.1; 2 of simpo',
    objectives: ['dpo', 'kto', 'orpo', 'cpo', 'simpo'],
    group,
  }),
  lossType: choices("losses, by TRL's names", ALL_LOSS_TYPES, {
    defaultText: 'sigmoid; kto of kto',
    objectives: ['dpo', 'cpo', 'kto'],
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
  desirableWeight: optionalReal('weight of good answers', { min: 0, defaultText: '1', objectives: ['kto'], group }),
  undesirableWeight: optionalReal('weight of bad answers', { min: 0, defaultText: '1', objectives: ['kto'], group }),
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
  const settings = parseOptions(z.strictObject(fields), options, { source: 'api' }) as ObjectiveSettings
  const types: readonly string[] = LOSS_TYPES[objective as keyof typeof LOSS_TYPES] ?? []
  const other = settings.lossType?.find((type) => !types.includes(type))
  if (other === undefined) return settings
  throw new UsageError(
    'bad-value',
    `Expected losses of ${objective} (${types.join(', ')}) for lossType but received ${other}.`,
  )
}
