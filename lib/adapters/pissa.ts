import { anObject, requireArgument } from '../arguments.js'
import { UsageError } from '../errors.js'
import { native } from '../native.js'
import type { LayerAdapter, LayerUpdate, LowRankFactors } from '../nn/layer-adapter.js'
import type { LinearInput } from '../nn/linear-input.js'
import { type Destination, together } from '../tensor/destination.js'
import { Parameter } from '../tensor/parameter.js'
import { allOrNothing } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import type { AdapterMethod, LayerFacts, LayerOptions } from './adapter.js'
import { loraMethodOf, readLora, writeLora } from './lora-files.js'
import { LoraLayer } from './lora-layer.js'
import { alphaOf, type LowRankConfig, type LowRankOptions, lowRankConfig, requireShape } from './low-rank.js'
import { rankOf } from './patterns.js'
import { taskLimit } from './task-limit.js'

export interface PissaConfig extends LowRankConfig {
  readonly method: 'pissa'
}

/**
 * PiSSA (arXiv 2404.02948): A and B start as the principal part of W, and W gives that part up:
 * W' = (W − s B₀ A₀) + s B A with s = alpha / rank. Alpha defaults to rank, as in the paper.
 */
export function pissa(options: LowRankOptions = {}): PissaConfig {
  requireArgument('the options of an adapter', options, anObject)
  return lowRankConfig('pissa', { ...options, alpha: options.alpha ?? options.rank ?? 8 })
}

/** W stays as it is and ΔW = s (B A − B₀ A₀): the same sum, and the base can be used without the adapter. */
export class PissaLayer implements LayerAdapter {
  readonly parameters: readonly Parameter[]

  constructor(
    readonly trained: LoraLayer,
    /** What A and B were at first: frozen. */
    readonly initial: LoraLayer,
  ) {
    this.parameters = trained.parameters
  }

  forward(input: LinearInput, scale: number, into: Destination): Tensor {
    return together(into, [
      (part) => this.trained.forward(input, scale, part),
      (part) => this.initial.forward(input, -scale, part),
    ])
  }

  asWeightUpdate(input: LinearInput, scale: number): LayerUpdate | null {
    return input.drops(this.trained.dropout) ? null : this.weightUpdate(scale)
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

  mergeInto(weight: Tensor, scale: number, nonFinite: Tensor): void {
    this.trained.mergeInto(weight, scale, nonFinite)
    this.initial.mergeInto(weight, -scale, nonFinite)
  }

  /** [B, −B₀] [A; A₀] */
  factors(): LowRankFactors {
    const [own, first] = [this.trained.factors(), this.initial.factors()]
    const [{ rank, scale }, width] = [own, 2 * own.rank]
    const ofBoth = (factor: 'a' | 'b') => Promise.all([own[factor](), first[factor]()])
    return {
      rank: width,
      scale,
      a: async () => Float32Array.from((await ofBoth('a')).flatMap((values) => [...values])),
      async b() {
        const [trained, initial] = await ofBoth('b')
        return Float32Array.from({ length: 2 * trained.length }, (_, at) => {
          const [row, column] = [Math.floor(at / width), at % width]
          return column < rank ? trained[row * rank + column]! : -initial[row * rank + column - rank]!
        })
      },
    }
  }

  describe(): { rank: number } {
    return this.trained.describe()
  }

  dispose(): void {
    this.trained.dispose()
    this.initial.dispose()
  }
}

/** The values of A [rank, k] and B [d, rank]. */
interface Factors {
  a: Float32Array
  b: Float32Array
}

function layerOf(config: PissaConfig, options: LayerOptions, trained: Factors, initial: Factors): PissaLayer {
  const { layer, device } = options
  const rank = rankOf(config, layer)
  const part = (values: Factors, dropout: number, prefix: string, trains: boolean): LoraLayer => {
    const parameter = (name: string, data: Float32Array, shape: [number, number]): Parameter => {
      const made = new Parameter(`${layer.name}.${prefix}${name}`, Tensor.from(data, shape, { device }))
      return trains ? made : made.freeze()
    }
    const a = parameter('lora_A', values.a, [rank, layer.inFeatures])
    const b = parameter('lora_B', values.b, [layer.outFeatures, rank])
    return new LoraLayer(options, dropout, alphaOf(config, layer) / rank, a, b)
  }
  // As in PEFT, the adapter's input may be dropped, and that of what W gave up is not.
  return new PissaLayer(part(trained, config.dropout, '', true), part(initial, 0, 'initial_', false))
}

/** Decompositions at a time: the threads of libuv's pool. Each holds its matrix in double precision. */
const inTurn = taskLimit(4)

/** scale · B A is the part of a weight with the largest singular values; each factor takes their square roots. */
async function principalFactors(weight: Tensor, rank: number, scale: number): Promise<Factors> {
  const [d, k] = weight.shape as [number, number]
  const { s, u, v } = await native.svd((await weight.data()) as Float32Array, d, k, true)
  const p = s.length
  const root = (i: number): number => Math.sqrt(s[i]! / scale)
  return {
    a: Float32Array.from({ length: rank * k }, (_, at) => {
      const i = Math.floor(at / k)
      return root(i) * v![(at % k) * p + i]!
    }),
    b: Float32Array.from(
      { length: d * rank },
      (_, at) => root(at % rank) * u![Math.floor(at / rank) * p + (at % rank)]!,
    ),
  }
}

function requirePrincipalRank(rank: number, { name, inFeatures, outFeatures }: LayerFacts): void {
  const most = Math.min(inFeatures, outFeatures)
  if (rank <= most) return
  throw new UsageError('invalid-rank', `Rank ${rank} is more than the ${most} singular values of ${name}.`)
}

const doubled = (pattern: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(pattern).map(([key, value]) => [key, 2 * value]))

const halved = (pattern: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(pattern).map(([key, value]) => [key, value / 2]))

/**
 * Files hold the LoRA of twice the rank and alpha that ΔW is, [B, −B₀] [A; A₀], as PEFT converts PiSSA: it goes with the
 * original base model, anywhere. The halves are told apart again when the method is read.
 */
export const pissaMethod: AdapterMethod<PissaConfig> = {
  name: 'pissa',
  suffixes: ['lora_A.weight', 'lora_B.weight'],

  async create(config, options, _, weight) {
    const { layer } = options
    const rank = rankOf(config, layer)
    requirePrincipalRank(rank, layer)
    const initial = await inTurn(() => principalFactors(weight, rank, alphaOf(config, layer) / rank))
    return allOrNothing(() => layerOf(config, options, initial, initial))
  },

  countParameters: (config, layer) => rankOf(config, layer) * (layer.inFeatures + layer.outFeatures),

  read(config, options, tensor) {
    const { layer } = options
    const rank = rankOf(config, layer)
    const { inFeatures: k, outFeatures: d } = layer
    const load = (suffix: string, shape: [number, number]) =>
      requireShape(tensor(suffix), suffix, shape, layer, 2 * rank)
    const a = load('lora_A.weight', [2 * rank, k])
    const b = load('lora_B.weight', [d, 2 * rank])
    const columns = (from: number, sign: number): Float32Array =>
      Float32Array.from(
        { length: d * rank },
        (_, at) => sign * b[Math.floor(at / rank) * 2 * rank + from + (at % rank)]!,
      )
    return layerOf(
      config,
      options,
      { a: a.subarray(0, rank * k), b: columns(0, 1) },
      { a: a.subarray(rank * k), b: columns(rank, -1) },
    )
  },

  tensors(layer) {
    const { trained, initial } = layer as PissaLayer
    const [rank, k] = trained.a.shape as [number, number]
    const d = trained.b.shape[0]!
    const both = async (one: Tensor, other: Tensor) =>
      [(await one.data()) as Float32Array, (await other.data()) as Float32Array] as const
    return [
      {
        suffix: 'lora_A.weight',
        shape: [2 * rank, k],
        async values() {
          const [first, second] = await both(trained.a, initial.a)
          const values = new Float32Array(2 * rank * k)
          values.set(first)
          values.set(second, rank * k)
          return values
        },
      },
      {
        suffix: 'lora_B.weight',
        shape: [d, 2 * rank],
        async values() {
          const [first, second] = await both(trained.b, initial.b)
          return Float32Array.from({ length: d * 2 * rank }, (_, at) => {
            const [row, column] = [Math.floor(at / (2 * rank)), at % (2 * rank)]
            return column < rank ? first[row * rank + column]! : -second[row * rank + column - rank]!
          })
        },
      },
    ]
  },

  fromPeft(json, source, common) {
    if (loraMethodOf(json, source) !== 'pissa') return null
    const { alpha, alphaPattern, dropout } = readLora(json, source)
    return pissa({
      ...common,
      dropout,
      rank: common.rank / 2,
      rankPattern: halved(common.rankPattern),
      alpha: alpha / 2,
      alphaPattern: halved(alphaPattern),
    })
  },

  toPeft: (config) => ({
    ...writeLora(config),
    r: 2 * config.rank,
    rank_pattern: doubled(config.rankPattern),
    lora_alpha: 2 * config.alpha,
    alpha_pattern: doubled(config.alphaPattern),
    use_mora: false,
    use_rslora: false,
    use_dora: false,
    node_mora: { method: 'pissa' },
  }),
}
