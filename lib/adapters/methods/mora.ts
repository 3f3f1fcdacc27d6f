import { z } from 'zod'
import { check, expecting, optionsSchema } from '../../common/arguments.js'
import { InputError, UsageError } from '../../common/errors.js'
import { theOption } from '../../common/option-names.js'
import { isJsonObject } from '../../io/json.js'
import { choices, flag, optionalChoice, optionalInteger, optionalReal } from '../../schema/option.js'
import { liveSections } from '../../tensor/operations/mora.js'
import type { AdapterConfigBase, AdapterMethod, LayerFacts, RestartRunOptions } from '../contract/adapter.js'
import { checkedConfig, newAdapterGroup as group } from '../contract/adapter-config.js'
import { rankOf } from '../contract/patterns.js'
import { numberEntry, positiveWholeEntry } from '../contract/peft-entries.js'
import { loraEntries } from './lora-entries.js'
import { moraGeometry } from './mora-geometry.js'
import { MoraLayer, type MoraLayerConfig } from './mora-layer.js'
import { mostRank, OPERATORS, type Operator, squareSide } from './mora-operators.js'
import type { PermutationKey } from './permutation.js'

/** The `mora_type` of MoRA's operators in the reference's files; see docs/design.md. */
export const moraTypes = {
  sharing: 1,
  'sharing-grouped': 2,
  'sharing-grouped-in': 3,
  'sharing-grouped-out': 4,
  rotation: 6,
  decoupling: null,
  truncation: null,
} as const satisfies Record<Operator, number | null>
export type { Operator }
/** All operators of MoRA, the values of `--operator`. */
export const operators: readonly Operator[] = OPERATORS

export interface MoraConfig extends AdapterConfigBase, MoraLayerConfig {
  readonly method: 'mora'
  /**
   * R is rounded to the nearest multiple of this: with 8 or 16, tensor cores of GPUs read sections of every shape aligned. 1,
   * the default, gives the reference's R; its tools cannot read adapters with another one.
   */
  readonly roundRank: number
  /** The key of the order in which inputs and outputs are grouped; null, the default, is their own order. */
  readonly permutation: PermutationKey | null
}

const aPermutation = expecting('seed and cycle, two whole numbers', z.looseObject({ seed: z.int(), cycle: z.int() }))

const fields = {
  operator: optionalChoice("MoRA's compression", OPERATORS, {
    defaultText: 'rotation below rank 64, sharing from there on',
    group,
  }),
  roundRank: optionalInteger("make the side of MoRA's matrix a multiple of this; 8 or 16 suit GPUs", {
    min: 1,
    defaultText: "1, the reference's side",
    group,
  }),
}

/** Options of restarts (ReMoRA, the paper's section 5.3 and Appendix B). */
const restartFields = {
  cycle: choices('operators to use in turn, one after each merge', OPERATORS, {
    defaultText: '--operator if given, else sharing,sharing-grouped',
    group,
    needs: ['mergeEvery'],
  }),
  regroup: optionalChoice(
    'what a restart changes: the operator only, or also a permutation of inputs and outputs',
    ['cycle', 'permute'],
    { defaultText: 'cycle', group, needs: ['mergeEvery'] },
  ),
}

interface MoraRestartOptions extends RestartRunOptions {
  readonly operator?: Operator
  /** The operators that restarts alternate between. */
  readonly cycle?: readonly Operator[]
  /** `cycle`: a restart takes the next operator; `permute`: it also draws another order of inputs and outputs. */
  readonly regroup?: 'cycle' | 'permute'
}

/** All options, those without a flag included. */
const allFields = {
  ...fields,
  scale: optionalReal('ΔW is multiplied by this'),
  foldOutput: flag('add the outputs past the last one to the first ones'),
}

/** Returns the paper's operator for a rank: rotation below 64, sharing from there on. */
export const operatorFor = (rank: number): Operator => (rank < 64 ? 'rotation' : 'sharing')

const moraArguments = {
  options: optionsSchema('the options of an adapter', { permutation: aPermutation.nullable().optional() }),
}

/**
 * MoRA (arXiv 2405.12130): high-rank updating by one square matrix of about rank · (k + d) parameters.
 *
 * ```ts
 * import { loadModel, mora } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * await model.addAdapter('facts', mora({ rank: 8, operator: 'sharing', targetModules: ['q_proj', 'v_proj'] }))
 * ```
 */
export function mora(options: Partial<Omit<MoraConfig, 'method'>> = {}): MoraConfig {
  check({ options }, moraArguments)
  const { permutation = null, ...described } = options
  const { operator, scale = 1, roundRank = 1, ...config } = checkedConfig(allFields, described)
  return {
    ...config,
    method: 'mora',
    operator: operator ?? operatorFor(config.rank),
    scale,
    roundRank,
    permutation,
  }
}

const sideOf = (config: MoraConfig, layer: LayerFacts): number =>
  squareSide(layer.inFeatures, layer.outFeatures, rankOf(config, layer), config.operator, config.roundRank)

/**
 * Returns the operators of restarts, the adapter's among them: without the option cycle, an operator outside the default cycle
 * is the only one.
 */
function cycleOf({ operator }: MoraConfig, options: MoraRestartOptions): readonly Operator[] {
  const cycle = operatorCycle(options)
  if (cycle.includes(operator)) return cycle
  if (options.cycle === undefined) return [operator]
  throw new UsageError(
    'unfit-options',
    `The adapter's operator ${operator} is not among the operators of ${theOption('cycle')} (${cycle.join(', ')}).`,
  )
}

/** Returns the operators that ReMoRA alternates between (by default the paper's, Appendix B: types 1 and 2). */
export function operatorCycle({
  cycle,
  operator,
}: Pick<MoraRestartOptions, 'cycle' | 'operator'>): readonly Operator[] {
  return cycle ?? (operator ? [operator] : ['sharing', 'sharing-grouped'])
}

/** Returns the permutation of inputs and outputs in a cycle: 0 for a new adapter, then one for each restart. */
const permutationOf = ({ regroup, seed }: MoraRestartOptions, cycle: number): PermutationKey | null =>
  regroup === 'permute' ? { seed, cycle } : null

export const moraMethod: AdapterMethod<MoraConfig, typeof fields, typeof restartFields> = {
  name: 'mora',
  options: fields,
  config: mora,
  // The paper's section 5.2: the best of a search on Tulu v2 and MetaMathQA.
  learningRate: ({ operator }) => (operator.startsWith('sharing') ? 5e-5 : 3e-4),

  tensors: {
    mora: {
      shape(config, layer) {
        const side = sideOf(config, layer)
        return [side, side]
      },
      inFile: ['lora_A.weight', 'lora_B.weight'],
    },
  },

  describe: ({ operator }) => ({ operator }),
  describeLayer: (shapeOf) => ({ squareSide: shapeOf('mora')[0]! }),

  rankLimit: (_, { name, inFeatures, outFeatures }) => ({
    most: mostRank(inFeatures, outFeatures),
    of: `with which the square matrix of ${name} (${inFeatures} → ${outFeatures}) is as large as it can be`,
  }),

  layerMemory({ foldOutput, operator, ...config }, layer) {
    const { inFeatures, outFeatures } = layer
    const side = sideOf({ ...config, foldOutput, operator }, layer)
    const geometry = moraGeometry(operator, inFeatures, outFeatures, side, foldOutput)
    return geometry.kind === 'sections'
      ? { working: liveSections(geometry.plan) * side ** 2, making: 0 }
      : { making: 0 }
  },

  layer: (config, options, tensors) => new MoraLayer(config, options, tensors.parameter('mora')),

  // Each restart takes the next operator of the cycle (section 5.3 and Appendix B), or also another permutation.
  restart: {
    options: restartFields,
    first: (config, options: MoraRestartOptions) => ({ ...config, permutation: permutationOf(options, 0) }),
    plan(config, options: MoraRestartOptions) {
      const cycle = cycleOf(config, options)
      const start = cycle.indexOf(config.operator)
      return {
        options: { cycle, regroup: options.regroup ?? 'cycle' },
        after(restarts) {
          const operator = cycle[(start + restarts) % cycle.length]!
          return { ...config, operator, permutation: permutationOf(options, restarts) }
        },
      }
    },
  },

  isOwnFile: ({ use_mora: used }) => used === true,
  peft: {
    ...loraEntries,
    lora_alpha: { write: ({ rank }) => rank },
    mora_type: {
      read: (type, { json, source }) => ({ operator: operatorIn(json.mora_operator, type, source) }),
      write: ({ operator }) => moraTypes[operator],
    },
    use_mora: true,
    // Entries that the reference refuses: without them it would compute something else from the same matrix.
    mora_fold_output: {
      read: (value) => ({ foldOutput: value === true }),
      write: ({ foldOutput }) => foldOutput || undefined,
    },
    mora_operator: { write: ({ operator }) => (moraTypes[operator] === null ? operator : undefined) },
    mora_permutation: {
      read: (value, { source }) => ({ permutation: permutationIn(value, source) }),
      write: ({ permutation }) => permutation ?? undefined,
    },
    mora_round_rank: positiveWholeEntry('roundRank', { absent: 1, leftOut: true }),
    mora_scale: numberEntry('scale', { absent: 1, leftOut: true }),
  },
}

/** Returns the operator that a file names, or else the one of its `mora_type`. */
function operatorIn(name: unknown, type: unknown, source: string): Operator {
  const operator = operators.find((candidate) =>
    name ? candidate === name : type !== null && moraTypes[candidate] === type,
  )
  if (operator !== undefined) return operator
  const known = Object.entries(moraTypes).flatMap(([name, type]) => (type ? [`${type} (${name})`] : []))
  throw new UsageError(
    'unknown-operator',
    `${source} has mora_type ${JSON.stringify(type) ?? 'missing'}; known are ${known.join(', ')}.`,
  )
}

function permutationIn(value: unknown, source: string): PermutationKey | null {
  if (value === undefined || value === null) return null
  const { seed, cycle } = isJsonObject(value) ? value : {}
  if (Number.isSafeInteger(seed) && Number.isSafeInteger(cycle)) return { seed: seed as number, cycle: cycle as number }
  throw new InputError(
    'malformed-file',
    `${source}: expected whole numbers seed and cycle in mora_permutation but found ${JSON.stringify(value)}.`,
  )
}
