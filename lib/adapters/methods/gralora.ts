import { UsageError } from '../../errors.js'
import { native } from '../../native.js'
import type { LayerUpdate } from '../../nn/layer-adapter.js'
import { optionalInteger } from '../../schema/option.js'
import type { Parameter } from '../../tensor/parameter.js'
import { scope } from '../../tensor/scope.js'
import type { GradientTarget, Tensor } from '../../tensor/tensor.js'
import type { AdapterConfigBase, AdapterMethod, LayerFacts, LayerOptions, TensorStart } from '../contract/adapter.js'
import { checkedConfig, newAdapterGroup as group, requireOneRank } from '../contract/adapter-config.js'
import { AdapterLayer, weightGradient } from '../contract/adapter-layer.js'
import { commonEntries, dropoutFrom, numberFrom } from '../contract/peft-entries.js'
import { kaimingUniform, lowRankFields, rankOfProduct } from './low-rank.js'

export interface GraloraConfig extends AdapterConfigBase {
  readonly method: 'gralora'
  /** The scale is alpha / (rank + hybridRank). */
  readonly alpha: number
  /** Inputs and outputs are cut into so many parts each. */
  readonly graloraParts: number
  /** Rank of a plain LoRA beside the blocks; 0 is none. */
  readonly hybridRank: number
}

const fields = {
  alpha: lowRankFields.alpha,
  graloraParts: optionalInteger('GraLoRA: parts of inputs and outputs, each pair with factors of its own', {
    min: 1,
    defaultText: '2; of an odd rank 1, which is LoRA',
    group,
  }),
  hybridRank: optionalInteger('GraLoRA: rank of a plain LoRA beside the blocks', { min: 0, defaultText: '0', group }),
}

/**
 * GraLoRA (arXiv 2505.20355): ΔW is cut into parts² blocks, each a LoRA of rank / parts: as many parameters, and up to
 * parts times the rank. Alpha defaults to 2 · rank.
 */
export function gralora(options: Partial<Omit<GraloraConfig, 'method'>> = {}): GraloraConfig {
  requireOneRank('gralora', options)
  const config = checkedConfig(fields, options)
  const { alpha = 2 * config.rank, graloraParts = config.rank % 2 === 0 ? 2 : 1, hybridRank = 0 } = config
  if (config.rank % graloraParts !== 0) {
    throw new UsageError(
      'invalid-rank',
      `Rank ${config.rank} is no multiple of graloraParts ${graloraParts}: each part has the same share of it.`,
    )
  }
  return { ...config, method: 'gralora', alpha, graloraParts, hybridRank }
}

interface Factors {
  /** [parts, k / parts, rank] */
  readonly a: Parameter
  /** [parts, rank, d / parts] */
  readonly b: Parameter
  /** A plain LoRA's [hybridRank, k] and [d, hybridRank]. */
  readonly general: { readonly a: Parameter; readonly b: Parameter } | null
}

export class GraloraLayer extends AdapterLayer {
  constructor(
    options: LayerOptions,
    dropout: number,
    readonly scale: number,
    readonly blocks: Factors,
  ) {
    const { a, b, general } = blocks
    super(options, dropout, general ? [a, b, general.a, general.b] : [a, b])
  }

  weightUpdate(scale: number): LayerUpdate {
    const total = scale * this.scale
    const { general } = this.blocks
    return {
      parameters: this.parameters,
      readsWeight: false,
      addTo: (rows) => {
        this.#eachBlock(rows, this.blocks, (block, a, b) =>
          native.matmul({
            a: b.native,
            transposeA: true,
            b: a.native,
            transposeB: true,
            c: block.native,
            alpha: total,
            accumulate: true,
          }),
        )
        if (general)
          native.matmul({ a: general.b.native, b: general.a.native, c: rows.native, alpha: total, accumulate: true })
      },
      backward: (dY, x, targets) => scope(() => this.#backward(weightGradient(dY, x), targets, total)),
    }
  }

  #backward(gradient: Tensor, [dA, dB, dGeneralA, dGeneralB]: readonly GradientTarget[], scale: number): void {
    const { a: ownA, b: ownB, general } = this.blocks
    dA!.write((target, add) =>
      this.#eachBlock(gradient, { a: target, b: ownB }, (block, a, b) =>
        native.matmul({
          a: block.native,
          transposeA: true,
          b: b.native,
          transposeB: true,
          c: a.native,
          alpha: scale,
          accumulate: add,
        }),
      ),
    )
    dB!.write((target, add) =>
      this.#eachBlock(gradient, { a: ownA, b: target }, (block, a, b) =>
        native.matmul({
          a: a.native,
          transposeA: true,
          b: block.native,
          transposeB: true,
          c: b.native,
          alpha: scale,
          accumulate: add,
        }),
      ),
    )
    if (!general) return
    const { a, b } = general
    dGeneralA!.write((target, add) =>
      native.matmul({
        a: b.native,
        transposeA: true,
        b: gradient.native,
        c: target.native,
        alpha: scale,
        accumulate: add,
      }),
    )
    dGeneralB!.write((target, add) =>
      native.matmul({
        a: gradient.native,
        b: a.native,
        transposeB: true,
        c: target.native,
        alpha: scale,
        accumulate: add,
      }),
    )
  }

  /**
   * Every block [d / parts, k / parts] of a matrix, with its own columns of `a` [k / parts, s] and rows of `b` [s, d / parts]:
   * of output part j and input part n columns j of A's part n and rows n of B's part j, so that no two blocks share any.
   */
  #eachBlock(
    matrix: Tensor,
    { a, b }: { a: Tensor; b: Tensor },
    visit: (block: Tensor, a: Tensor, b: Tensor) => void,
  ): void {
    const [parts, width, rank] = a.shape as [number, number, number]
    const height = b.shape[2]!
    const share = rank / parts
    const stride = matrix.strides[0]!
    scope(() => {
      for (let j = 0; j < parts; j++) {
        for (let n = 0; n < parts; n++) {
          visit(
            matrix.view([height, width], [stride, 1], j * height * stride + n * width),
            a.view([width, share], [rank, 1], n * width * rank + j * share),
            b.view([share, height], [height, 1], (j * rank + n * share) * height),
          )
        }
      }
    })
  }
}

/** Each part's A is drawn as a LoRA's [rank, k / parts]. */
function initialA({ shape, random }: TensorStart<GraloraConfig>): Float32Array {
  const [parts, width, rank] = shape as [number, number, number]
  return kaimingUniform({ shape: [parts * rank, width], random })
}

export const graloraMethod: AdapterMethod<GraloraConfig, typeof fields> = {
  name: 'gralora',
  options: fields,
  lacks: ['rankPattern'],
  config: gralora,
  learningRate: () => 2e-4,
  readByPeft: true,
  rankLimit: (_, layer) => rankOfProduct(layer),

  tensors: {
    gralora_A: {
      shape: ({ rank, graloraParts: parts }, { inFeatures }) => [parts, inFeatures / parts, rank],
      initial: initialA,
    },
    gralora_B: { shape: ({ rank, graloraParts: parts }, { outFeatures }) => [parts, rank, outFeatures / parts] },
    gralora_A_general: {
      shape: ({ hybridRank }, { inFeatures }) => (hybridRank > 0 ? [hybridRank, inFeatures] : null),
      initial: kaimingUniform,
      inFile: 'gralora_A_general.weight',
    },
    gralora_B_general: {
      shape: ({ hybridRank }, { outFeatures }) => (hybridRank > 0 ? [outFeatures, hybridRank] : null),
      inFile: 'gralora_B_general.weight',
    },
  },

  requireFit({ graloraParts: parts }, { name, inFeatures, outFeatures }: LayerFacts) {
    if (inFeatures % parts === 0 && outFeatures % parts === 0) return
    throw new UsageError(
      'unfit-options',
      `${name} (${inFeatures} → ${outFeatures}) cannot be cut into ${parts} equal parts: give another graloraParts.`,
    )
  },

  layer({ dropout, alpha, rank, hybridRank }, options, tensors) {
    const general = tensors.has('gralora_A_general')
      ? { a: tensors.parameter('gralora_A_general'), b: tensors.parameter('gralora_B_general') }
      : null
    const factors = { a: tensors.parameter('gralora_A'), b: tensors.parameter('gralora_B'), general }
    return new GraloraLayer(options, dropout, alpha / (rank + hybridRank), factors)
  },

  fromPeft(json, source) {
    if (json.peft_type !== 'GRALORA') return null
    return gralora({
      ...commonEntries(json, source),
      dropout: dropoutFrom(json, 'gralora_dropout', source),
      alpha: numberFrom(json, 'alpha', source),
      graloraParts: numberFrom(json, 'gralora_k', source),
      hybridRank: numberFrom(json, 'hybrid_r', source),
    })
  },

  toPeft: ({ dropout, alpha, graloraParts, hybridRank }) => ({
    alpha,
    bias: 'none',
    fan_in_fan_out: false,
    gralora_dropout: dropout,
    gralora_k: graloraParts,
    hybrid_r: hybridRank,
    init_weights: true,
    peft_type: 'GRALORA',
  }),
}
