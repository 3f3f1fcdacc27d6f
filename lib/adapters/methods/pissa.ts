import { check } from '../../common/arguments.js'
import { taskLimit } from '../../common/task-limit.js'
import type { LayerUpdate, LowRankFactors } from '../../nn/layer-adapter.js'
import type { LinearInput } from '../../nn/linear-input.js'
import { type Destination, together } from '../../tensor/destination.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { AdapterMethod, ConfigOf, LayerFacts, TensorValues } from '../contract/adapter.js'
import { adapterArguments } from '../contract/adapter-config.js'
import { AdapterLayer } from '../contract/adapter-layer.js'
import { rankOf } from '../contract/patterns.js'
import { patternsEntry, positiveEntry, positiveWholeEntry } from '../contract/peft-entries.js'
import { loraMethodOf, lowRankEntries, PEFT_ALPHA } from './lora-entries.js'
import { LoraLayer } from './lora-layer.js'
import {
  alphaOf,
  factorShapes,
  type LowRankConfig,
  type LowRankOptions,
  lowRankConfig,
  lowRankFields,
  principalFactors,
} from './low-rank.js'

/**
 * PiSSA (arXiv 2404.02948): A and B start as the principal part of W, which is subtracted from W: W' = (W − s B₀ A₀) + s B A
 * with s = alpha / rank. Alpha defaults to rank, as in the paper.
 */
export function pissa(options: LowRankOptions = {}): ConfigOf<'pissa', LowRankConfig> {
  check({ options }, adapterArguments)
  return lowRankConfig('pissa', { ...options, alpha: options.alpha ?? options.rank ?? 8 })
}

/** PiSSA beside one layer. W is unchanged and ΔW = s (B A − B₀ A₀): the same sum, and the base works without the adapter. */
export class PissaLayer extends AdapterLayer {
  constructor(
    readonly trained: LoraLayer,
    /** The initial A and B, frozen. */
    readonly initial: LoraLayer,
  ) {
    super(trained.options, trained.dropout, [...trained.tensors, ...initial.tensors])
  }

  override forward(input: LinearInput, scale: number, into: Destination): Tensor {
    return together(into, [
      (part) => this.trained.forward(input, scale, part),
      (part) => this.initial.forward(input, -scale, part),
    ])
  }

  weightUpdate(scale: number): LayerUpdate {
    const [trained, initial] = [this.trained.weightUpdate(scale), this.initial.weightUpdate(-scale)]
    const { parameters } = this
    const addTo = (rows: Tensor, weight: Tensor, untouched: boolean): void => {
      trained.addTo(rows, weight, untouched)
      initial.addTo(rows, weight, false)
    }
    return { ...trained, parameters, addTo }
  }

  override mergeInto(weight: Tensor, scale: number, nonFinite: Tensor): void {
    this.trained.mergeInto(weight, scale, nonFinite)
    this.initial.mergeInto(weight, -scale, nonFinite)
  }

  /** [B, −B₀] [A; A₀] */
  override factors(): LowRankFactors {
    const [own, first] = [this.trained.factors(), this.initial.factors()]
    const { rank, scale } = own
    const ofBoth = (factor: 'a' | 'b') => Promise.all([own[factor](), first[factor]()])
    return {
      rank: 2 * rank,
      scale,
      a: async () => stacked(...(await ofBoth('a'))),
      b: async () => besideNegated(...(await ofBoth('b')), rank),
    }
  }
}

/** The number of concurrent decompositions: the threads of libuv's pool. Each keeps its matrix in double precision. */
const AT_A_TIME = 4
const inTurn = taskLimit(AT_A_TIME)

const scaleOf = (config: ConfigOf<'pissa', LowRankConfig>, layer: LayerFacts): number =>
  alphaOf(config, layer) / rankOf(config, layer)

/** Entries with twice the values of their options. */
const doubled = { fromFile: (value: number) => value / 2, toFile: (value: number) => 2 * value }
const doubledPattern = {
  fromFile: (pattern: NumbersByPattern) => scaled(pattern, 1 / 2),
  toFile: (pattern: NumbersByPattern) => scaled(pattern, 2),
}

type NumbersByPattern = Readonly<Record<string, number>>

const scaled = (pattern: NumbersByPattern, by: number): NumbersByPattern =>
  Object.fromEntries(Object.entries(pattern).map(([key, value]) => [key, by * value]))

/** Concatenates the rows of two matrices. */
function stacked(one: TensorValues, other: TensorValues): Float32Array {
  const values = new Float32Array(one.length + other.length)
  values.set(one)
  values.set(other, one.length)
  return values
}

/** Concatenates the columns of a matrix [d, rank] and of the other one, negated. */
function besideNegated(one: TensorValues, other: TensorValues, rank: number): Float32Array {
  return Float32Array.from({ length: 2 * one.length }, (_, at) => {
    const [row, column] = [Math.floor(at / (2 * rank)), at % (2 * rank)]
    return column < rank ? one[row * rank + column]! : -other[row * rank + column - rank]!
  })
}

/**
 * Files store ΔW as a LoRA of twice the rank and alpha, [B, −B₀] [A; A₀], as PEFT converts PiSSA: it works with the original
 * base model in any program. Reading separates the halves again.
 */
export const pissaMethod: AdapterMethod<ConfigOf<'pissa', LowRankConfig>, typeof lowRankFields> = {
  name: 'pissa',
  options: lowRankFields,
  config: pissa,
  learningRate: () => 2e-5,

  describe: ({ alpha }) => ({ alpha }),

  tensors: {
    lora_A: { shape: factorShapes.a },
    lora_B: { shape: factorShapes.b },
    initial_lora_A: { shape: factorShapes.a, frozen: true },
    initial_lora_B: { shape: factorShapes.b, frozen: true },
  },

  files: {
    'lora_A.weight': {
      shape: (config, layer) => [2 * rankOf(config, layer), layer.inFeatures],
      split(values) {
        const half = values.length / 2
        return { lora_A: values.subarray(0, half), initial_lora_A: values.subarray(half) }
      },
      join: ({ lora_A: trained, initial_lora_A: initial }) => stacked(trained!, initial!),
    },
    'lora_B.weight': {
      shape: (config, layer) => [layer.outFeatures, 2 * rankOf(config, layer)],
      split(values, config, layer) {
        const rank = rankOf(config, layer)
        const columns = (from: number, sign: number): Float32Array =>
          Float32Array.from(
            { length: values.length / 2 },
            (_, at) => sign * values[Math.floor(at / rank) * 2 * rank + from + (at % rank)]!,
          )
        return { lora_B: columns(0, 1), initial_lora_B: columns(rank, -1) }
      },
      join: ({ lora_B: trained, initial_lora_B: initial }, config, layer) =>
        besideNegated(trained!, initial!, rankOf(config, layer)),
    },
  },

  rankLimit: (_, { name, inFeatures, outFeatures }) => ({
    most: Math.min(inFeatures, outFeatures),
    of: `singular values of ${name}`,
    refused: true,
  }),

  layerMemory(_, { inFeatures: k, outFeatures: d }) {
    const p = Math.min(k, d)
    // The matrix and its decomposed copy; U and V twice; the divide-and-conquer workspace of two matrices of p.
    const doubles = 2 * d * k + 2 * p * (d + k) + 4 * p * p
    return { making: AT_A_TIME * (4 * d * k + 8 * doubles) }
  },

  async initial(config, layer, weight) {
    const rank = rankOf(config, layer)
    const { a, b } = await inTurn(async () =>
      principalFactors(await weight.data(), [layer.outFeatures, layer.inFeatures], rank, scaleOf(config, layer)),
    )
    return { lora_A: a, lora_B: b, initial_lora_A: a, initial_lora_B: b }
  },

  layer(config, options, tensors) {
    const part = (prefix: string, dropout: number): LoraLayer => {
      const [a, b] = [tensors.parameter(`${prefix}lora_A`), tensors.parameter(`${prefix}lora_B`)]
      return new LoraLayer(options, dropout, scaleOf(config, options.layer), a, b)
    }
    // As in PEFT, dropout applies to the adapter's input, not to that of the part subtracted from W.
    return new PissaLayer(part('', config.dropout), part('initial_', 0))
  },

  isOwnFile: (json, source) => loraMethodOf(json, source) === 'pissa',
  peft: {
    ...lowRankEntries,
    alpha_pattern: patternsEntry('alphaPattern', doubledPattern),
    lora_alpha: positiveEntry('alpha', { absent: PEFT_ALPHA, ...doubled }),
    node_mora: { method: 'pissa' },
    r: positiveWholeEntry('rank', doubled),
    rank_pattern: patternsEntry('rankPattern', doubledPattern),
  },
}
