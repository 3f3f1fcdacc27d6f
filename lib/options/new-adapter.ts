/** Options that say what a new adapter is: of training, and of counting its parameters before that. */
import { OPERATORS } from './operators.js'
import {
  names,
  namesOrPattern,
  numbersByPattern,
  optionalChoice,
  optionalInteger,
  optionalPattern,
  optionalReal,
} from './option.js'

/** Methods that train an adapter. */
export const ADAPTER_METHODS = [
  'mora',
  'lora',
  'rslora',
  'lora-plus',
  'asylora',
  'lora-fa',
  'dora',
  'pissa',
  'miss',
  'hira',
] as const
export const METHODS = [...ADAPTER_METHODS, 'full'] as const

export type AdapterMethodName = (typeof ADAPTER_METHODS)[number]
export type Method = (typeof METHODS)[number]

export const newAdapterGroup = 'What is trained:'
const group = newAdapterGroup

/**
 * They have no default in the schema, since with `adapter` they come from a file: `newAdapterOptions` in defaults.ts fills
 * them in for a new one.
 */
export const newAdapterFields = {
  method: optionalChoice('how to train: an adapter of this kind, or full for every weight', METHODS, {
    defaultText: 'mora; full with --init',
    group,
  }),
  rank: optionalInteger(
    'the budget: as many parameters as LoRA of this rank; of asylora, lora-fa and miss the rank itself',
    { min: 1, defaultText: '8', group },
  ),
  matchParametersOf: optionalPattern(
    'choose the rank whose parameters come closest to those of this method and rank',
    'METHOD:RANK',
    /^[a-z-]+:[1-9]\d*$/,
    { expects: 'a method and a rank, as lora:8', group },
  ),
  operator: optionalChoice("MoRA's compression", OPERATORS, {
    defaultText: 'rotation below rank 64, sharing from there on',
    group,
  }),
  roundRank: optionalInteger("make the side of MoRA's matrix a multiple of this; 8 or 16 suit GPUs", {
    min: 1,
    defaultText: "1, the reference's side",
    group,
  }),
  alpha: optionalReal("LoRA's scale is alpha / rank", { above: 0, defaultText: '2 * rank; of pissa rank', group }),
  loraPlusRatio: optionalReal("LoRA+: B's learning rate over A's", { above: 0, defaultText: '16', group }),
  dropout: optionalReal("of the adapter's input: the probability to drop", {
    min: 0,
    below: 1,
    defaultText: '0',
    group,
  }),
  targetModules: namesOrPattern(
    'layers that get an adapter: all-linear (every linear layer of the blocks), names, or /regex/',
    'all-linear',
    { defaultText: 'all-linear', group },
  ),
  rankPattern: numbersByPattern('ranks of layers: the end of a path, or a regular expression of it, = a rank', {
    integers: true,
    group,
  }),
  alphaPattern: numbersByPattern('alphas of layers, in the same way', { group }),
  modulesToSave: names('modules that are trained whole beside the adapter: embeddings, norms, head, or names', {
    group,
  }),
}
