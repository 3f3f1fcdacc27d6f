/** Options of objectives: one declaration each, from which `train`, the command line and the objectives' functions have them. */
import { z } from 'zod'
import { choices, optionalChoice, optionalFlag, optionalReal, real, reals } from '../schema/option.js'
import { type LibraryInput, optionFacts } from '../schema/option-facts.js'
import { parseOptions } from '../schema/parse.js'

const group = 'Objectives of answers:'

const LOSS_TYPES = [
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
] as const
/** A loss of preferences, by TRL's name. */
export type LossType = (typeof LOSS_TYPES)[number]

export const objectiveFields = {
  labelSmoothing: real(
    "share of a target's probability that all tokens get in equal parts (sft), or of pairs whose order is wrong",
    0,
    { min: 0, max: 1, objectives: ['sft', 'dpo'], group },
  ),
  beta: optionalReal('how much leaving the reference costs, or the scale of what is compared', {
    above: 0,
    defaultText: '0.1',
    objectives: ['dpo'],
    group,
  }),
  lossType: choices("losses, by TRL's names", LOSS_TYPES, {
    defaultText: 'sigmoid',
    objectives: ['dpo'],
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
  return parseOptions(z.strictObject(fields), options, { source: 'api' }) as ObjectiveSettings
}
