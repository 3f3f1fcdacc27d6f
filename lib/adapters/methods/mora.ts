import { type Kind, optional, orNull, requireOptionsOf } from '../../arguments.js'
import { InputError, UsageError } from '../../errors.js'
import { isJsonObject } from '../../io/json.js'
import { type BlockPlan, type Grouping, native } from '../../native.js'
import type { LayerUpdate, LowRankFactors } from '../../nn/layer-adapter.js'
import type { LinearInput } from '../../nn/linear-input.js'
import { flag, optionalChoice, optionalInteger, optionalReal } from '../../schema/option.js'
import type { Destination } from '../../tensor/destination.js'
import {
  alignedSide,
  blocks,
  blocksMatrixGradient,
  foldBlocks,
  groupSpread,
  groupSum,
  liveBlocks,
  squareFactor,
} from '../../tensor/operations/mora.js'
import type { Parameter } from '../../tensor/parameter.js'
import { keep, scope } from '../../tensor/scope.js'
import { type GradientTarget, Tensor } from '../../tensor/tensor.js'
import type { AdapterConfigBase, AdapterMethod, LayerFacts, LayerOptions, RestartOptions } from '../contract/adapter.js'
import { checkedConfig, newAdapterGroup as group } from '../contract/adapter-config.js'
import { AdapterLayer } from '../contract/adapter-layer.js'
import { OPERATORS, type Operator } from '../contract/mora-operators.js'
import { rankOf } from '../contract/patterns.js'
import { commonEntries } from '../contract/peft-entries.js'
import { loraDropout, writeLora } from './lora-entries.js'
import { Permutation, type PermutationKey } from './permutation.js'
import { mostRank, squareSide } from './square-side.js'

/** Compression and decompression of MoRA; see docs/design.md. Numbers are `mora_type` of the reference's files. */
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
export const operators: readonly Operator[] = OPERATORS

export interface MoraConfig extends AdapterConfigBase {
  readonly method: 'mora'
  readonly operator: Operator
  /** ΔW is multiplied by this; 1 as in the reference. */
  readonly scale: number
  /** Rotation only: outputs past d are added to the first ones instead of being cut. */
  readonly foldOutput: boolean
  /**
   * R becomes the nearest multiple of this: with 8 or 16, tensor cores of GPUs read blocks of every shape aligned. 1, the
   * default, is the reference's R; its tools cannot read adapters of another.
   */
  readonly roundRank: number
  /** Inputs and outputs are taken in an order drawn by this; null, the default, is their own order. */
  readonly permutation: PermutationKey | null
}

const aPermutation: Kind = {
  expects: 'seed and cycle, two whole numbers',
  fits: (value) => isJsonObject(value) && [value.seed, value.cycle].every(Number.isSafeInteger),
}

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

/** With those that the command line does not have. */
const allFields = {
  ...fields,
  scale: optionalReal('ΔW is multiplied by this'),
  foldOutput: flag('add the outputs past the last one to the first ones'),
}

/** The paper's: below rank 64 MoRA rotates, from there on it shares. */
export const operatorFor = (rank: number): Operator => (rank < 64 ? 'rotation' : 'sharing')

/** MoRA (arXiv 2405.12130): high-rank updating by one square matrix of about rank · (k + d) parameters. */
export function mora(options: Partial<Omit<MoraConfig, 'method'>> = {}): MoraConfig {
  requireOptionsOf('the options of an adapter', options, { permutation: optional(orNull(aPermutation)) })
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

/** How an operator compresses k inputs to R values and spreads R values over d outputs: groups, or a plan of blocks. */
export type MoraGeometry = { kind: 'groups'; input: Grouping; output: Grouping } | { kind: 'blocks'; plan: BlockPlan }

export function moraGeometry(
  operator: Operator,
  inFeatures: number,
  outFeatures: number,
  side: number,
  foldOutput = false,
): MoraGeometry {
  const groups = (kind: 'tile' | 'runs', width: number, wrap: boolean): Grouping => ({ kind, wrap, width, side })
  const inRuns = operator === 'sharing-grouped' || operator === 'sharing-grouped-in'
  const outRuns = operator === 'sharing-grouped' || operator === 'sharing-grouped-out'
  if (operator.startsWith('sharing')) {
    const input = inRuns ? groups('runs', inFeatures, false) : groups('tile', inFeatures, true)
    return { kind: 'groups', input, output: groups(outRuns ? 'runs' : 'tile', outFeatures, false) }
  }
  const rotate = operator === 'rotation'
  const truncate = operator === 'truncation'
  return { kind: 'blocks', plan: { inFeatures, outFeatures, side, rotate, truncate, foldOutput } }
}

/** weight [d, k] += scale ΔW for the matrix [R, R] (float32); counts what is not finite afterwards, if asked to. */
function mergeMatrix(
  geometry: MoraGeometry,
  matrix: Tensor,
  scale: number,
  weight: Tensor,
  nonFinite: Tensor | null,
): void {
  const count = nonFinite?.native ?? null
  if (geometry.kind === 'groups') {
    native.mergeGroups(geometry.input, geometry.output, matrix.native, scale, weight.native, count)
    return
  }
  scope(() => {
    const folded = foldBlocks(geometry.plan, matrix, 'float32')
    native.mergeBlocks(geometry.plan, folded.native, scale, weight.native, count)
  })
}

/** Writes dM of a sharing operator from x [T, k] and dY [T, d]. */
function groupsMatrixGradient(
  { input, output }: { input: Grouping; output: Grouping },
  x: Tensor,
  dY: Tensor,
  scale: number,
  dMatrix: GradientTarget,
): void {
  scope(() => {
    const sums = (of: Tensor, grouping: Grouping): Tensor => {
      const result = Tensor.empty([of.shape[0]!, grouping.side], of)
      native.groupSum(grouping, of.native, result.native, false)
      return result
    }
    const [z, dZ] = [sums(x, input), sums(dY, output)]
    dMatrix.write((target, add) => native.matmul(dZ.native, true, z.native, false, target.native, scale, add))
  })
}

type MoraLayerConfig = Pick<MoraConfig, 'operator' | 'scale' | 'foldOutput' | 'dropout'> &
  Partial<Pick<MoraConfig, 'permutation'>>

export class MoraLayer extends AdapterLayer {
  override readonly makesWeight = false
  readonly #geometry: MoraGeometry
  readonly #permutation: Permutation | null

  constructor(
    readonly config: MoraLayerConfig,
    options: LayerOptions,
    /** M [R, R], rows are outputs. */
    readonly matrix: Parameter,
  ) {
    super(options, config.dropout, [matrix])
    const { layer, device } = options
    const { operator, foldOutput, permutation } = config
    this.#geometry = moraGeometry(operator, layer.inFeatures, layer.outFeatures, matrix.shape[0]!, foldOutput)
    this.#permutation = permutation ? new Permutation(permutation, layer, device) : null
  }

  override forward(input: LinearInput, scale: number, into: Destination): Tensor {
    const seen = this.seen(input)
    const permutation = this.#permutation
    if (!permutation) return this.#between(seen, seen.x, '', scale, into)
    const order = `permuted ${permutation.key.seed} ${permutation.key.cycle}`
    const x = seen.derive(order, () => permutation.inputs(seen.x))
    return permutation.outputs(this.#between(seen, x, order, scale), into)
  }

  /** The contribution for x in the order that groups or blocks take; `order` names it. */
  #between(input: LinearInput, x: Tensor, order: string, scale: number, into?: Destination): Tensor {
    const total = scale * this.config.scale
    if (this.#geometry.kind === 'blocks') return blocks(x, this.matrix, this.#geometry.plan, total, into)
    const { input: compress, output } = this.#geometry
    const z = input.derive(`${compress.kind} ${compress.side} ${order}`, () =>
      groupSum(x, compress, alignedSide(compress, x)),
    )
    return groupSpread(squareFactor(z, this.matrix, total), output, into)
  }

  override asWeightUpdate(input: LinearInput, scale: number): LayerUpdate | null {
    return this.#geometry.kind === 'blocks' ? super.asWeightUpdate(input, scale) : null
  }

  weightUpdate(scale: number): LayerUpdate | null {
    if (this.#permutation) return null
    const geometry = this.#geometry
    const total = scale * this.config.scale
    return {
      parameters: this.parameters,
      addTo: (rows) => mergeMatrix(geometry, this.matrix, total, rows, null),
      backward: (dY, x, [dMatrix]) => {
        if (geometry.kind === 'blocks') blocksMatrixGradient(geometry.plan, x, dY, total, dMatrix!)
        else groupsMatrixGradient(geometry, x, dY, total, dMatrix!)
      },
    }
  }

  override mergeInto(weight: Tensor, scale: number, nonFinite: Tensor): void {
    if (this.#permutation) super.mergeInto(weight, scale, nonFinite)
    else mergeMatrix(this.#geometry, this.matrix, scale * this.config.scale, weight, nonFinite)
  }

  protected override writeDelta(delta: Tensor, _: Tensor, scale: number): void {
    mergeMatrix(this.#geometry, this.matrix, scale * this.config.scale, delta, null)
    if (this.#permutation) delta.copyFrom(this.#permutation.delta(delta))
  }

  /**
   * Of sharing: what the outputs of groups are spread with is B [d, R], of zeros and ones, and A [R, k] is M times what
   * inputs are summed with. A grouping of R single columns stands for leaving one of both out.
   */
  override factors(): LowRankFactors | null {
    const { layer, device } = this.options
    const geometry = this.#geometry
    const permutation = this.#permutation
    const rank = this.matrix.shape[0]!
    if (geometry.kind === 'blocks') return null
    const single: Grouping = { kind: 'tile', wrap: false, width: rank, side: rank }
    return {
      rank,
      scale: this.config.scale,
      a: () =>
        valuesOf(() => {
          const a = Tensor.zeros([rank, layer.inFeatures], { device })
          mergeMatrix({ ...geometry, output: single }, this.matrix, 1, a, null)
          return permutation?.columns(a) ?? a
        }),
      b: () =>
        valuesOf(() => {
          const b = Tensor.zeros([layer.outFeatures, rank], { device })
          const ones = Float32Array.from({ length: rank ** 2 }, (_, at) => (at % (rank + 1) === 0 ? 1 : 0))
          mergeMatrix({ ...geometry, input: single }, Tensor.from(ones, [rank, rank], { device }), 1, b, null)
          return permutation?.rows(b) ?? b
        }),
    }
  }

  override describe(): { squareSide: number } {
    return { squareSide: this.matrix.shape[0]! }
  }

  override dispose(): void {
    super.dispose()
    this.#permutation?.dispose()
  }
}

const sideOf = (config: MoraConfig, layer: LayerFacts): number =>
  squareSide(layer.inFeatures, layer.outFeatures, rankOf(config, layer), config.operator, config.roundRank)

/** The operators in turn, of which the adapter's is one: a file's operator counts as given where the default has another. */
function cycleOf({ operator }: MoraConfig, options: RestartOptions): readonly Operator[] {
  const cycle = operatorCycle(options)
  if (cycle.includes(operator)) return cycle
  if (options.cycle === undefined) return [operator]
  throw new UsageError(
    'unfit-options',
    `The adapter's operator ${operator} is not among the operators of the option cycle (${cycle.join(', ')}).`,
  )
}

/** Operators that ReMoRA takes in turn (the paper's, Appendix B: types 1 and 2). */
export function operatorCycle({ cycle, operator }: Pick<RestartOptions, 'cycle' | 'operator'>): readonly Operator[] {
  return cycle ?? (operator ? [operator] : ['sharing', 'sharing-grouped'])
}

/** The permutation of a new adapter's inputs and outputs; those of its restarts follow. */
const permutationOf = ({ regroup, seed }: RestartOptions, cycle: number): PermutationKey | null =>
  regroup === 'permute' ? { seed, cycle } : null

export const moraMethod: AdapterMethod<MoraConfig, typeof fields> = {
  name: 'mora',
  options: fields,
  config: mora,
  // The paper's, section 5.2: the best of a search on Tulu v2 and MetaMathQA.
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

  rankLimit: (_, { name, inFeatures, outFeatures }) => ({
    most: mostRank(inFeatures, outFeatures),
    of: `with which the square matrix of ${name} (${inFeatures} → ${outFeatures}) is as large as it can be`,
  }),

  layerMemory({ foldOutput, operator, ...config }, layer) {
    const { inFeatures, outFeatures } = layer
    const side = sideOf({ ...config, foldOutput, operator }, layer)
    const geometry = moraGeometry(operator, inFeatures, outFeatures, side, foldOutput)
    return geometry.kind === 'blocks' ? { derived: liveBlocks(geometry.plan) * side ** 2, making: 0 } : { making: 0 }
  },

  layer: (config, options, tensors) => new MoraLayer(config, options, tensors.parameter('mora')),

  // The next operator of the cycle each time (section 5.3 and Appendix B), or another permutation as well.
  restart: {
    options: ['cycle', 'regroup'],
    first: (config, options) => ({ ...config, permutation: permutationOf(options, 0) }),
    plan(config, options) {
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

  fromPeft(json, source) {
    if (json.peft_type !== 'LORA' || json.use_mora !== true) return null
    const own = json.mora_operator
    const operator = own ?? operators.find((name) => moraTypes[name] !== null && moraTypes[name] === json.mora_type)
    if (typeof operator !== 'string' || !operators.includes(operator as Operator)) {
      const known = Object.entries(moraTypes).flatMap(([name, type]) => (type ? [`${type} (${name})`] : []))
      throw new UsageError(
        'unknown-operator',
        `${source} has mora_type ${JSON.stringify(json.mora_type) ?? 'missing'}; known are ${known.join(', ')}.`,
      )
    }
    const scale = typeof json.mora_scale === 'number' ? json.mora_scale : 1
    const roundRank = typeof json.mora_round_rank === 'number' ? json.mora_round_rank : 1
    return mora({
      ...commonEntries(json, source),
      dropout: loraDropout(json, source),
      operator: operator as Operator,
      scale,
      foldOutput: json.mora_fold_output === true,
      roundRank,
      permutation: permutationFrom(json.mora_permutation, source),
    })
  },

  toPeft({ operator, scale, foldOutput, roundRank, rank, dropout, permutation }) {
    // Entries that the reference refuses: without them it would compute something else from the same matrix.
    const extra: Record<string, unknown> = {}
    if (moraTypes[operator] === null) extra.mora_operator = operator
    if (scale !== 1) extra.mora_scale = scale
    if (foldOutput) extra.mora_fold_output = true
    if (roundRank !== 1) extra.mora_round_rank = roundRank
    if (permutation) extra.mora_permutation = permutation
    return { ...writeLora({ dropout }), use_mora: true, mora_type: moraTypes[operator], lora_alpha: rank, ...extra }
  },
}

async function valuesOf(make: () => Tensor): Promise<Float32Array> {
  using tensor = keep(scope(make))
  return (await tensor.data()) as Float32Array
}

function permutationFrom(value: unknown, source: string): PermutationKey | null {
  if (value === undefined || value === null) return null
  const { seed, cycle } = isJsonObject(value) ? value : {}
  if (Number.isSafeInteger(seed) && Number.isSafeInteger(cycle)) return { seed: seed as number, cycle: cycle as number }
  throw new InputError(
    'malformed-file',
    `${source}: expected whole numbers seed and cycle in mora_permutation but found ${JSON.stringify(value)}.`,
  )
}
