import { numbersByPattern, optionalReal } from '../../schema/option.js'
import { div, mul } from '../../tensor/operations/arithmetic.js'
import { scaleRows, transpose } from '../../tensor/operations/factors.js'
import { matmul } from '../../tensor/operations/products.js'
import { norms } from '../../tensor/operations/reductions.js'
import { scope } from '../../tensor/scope.js'
import { noGrad } from '../../tensor/tape.js'
import type { AdapterConfigBase, AdapterMethod } from '../contract/adapter.js'
import { checkedConfig, newAdapterGroup as group } from '../contract/adapter-config.js'
import { DeltaLayer } from '../contract/adapter-layer.js'
import { patternValue } from '../contract/patterns.js'
import { dropoutEntry, numberEntry, patternsEntry } from '../contract/peft-entries.js'
import { factorShapes, kaimingUniform, rankOfProduct } from './low-rank.js'

export interface DeloraConfig extends AdapterConfigBase {
  readonly method: 'delora'
  /** Initial value of λ. */
  readonly deloraLambda: number
  /** Initial values of λ by layer, with patterns as in `rankPattern`. */
  readonly lambdaPattern: Readonly<Record<string, number>>
}

const fields = {
  deloraLambda: optionalReal('DeLoRA: initial value of the bound of the change', {
    above: 0,
    defaultText: '15',
    group,
  }),
  lambdaPattern: numbersByPattern('DeLoRA: initial bounds by layer, with patterns as for ranks', { group }),
}

/**
 * DeLoRA (arXiv 2503.18225): ΔW = λ / rank · Σ bᵢ aᵢᵀ diag(‖W‖) / (‖aᵢ‖ ‖bᵢ‖) with the rows aᵢ of A [rank, k], the columns bᵢ
 * of B [d, rank] and the norms of W's columns: directions are trained separately from their strength λ, which bounds the
 * change.
 */
export function delora(options: Partial<Omit<DeloraConfig, 'method'>> = {}): DeloraConfig {
  const { deloraLambda = 15, lambdaPattern = {}, ...config } = checkedConfig(fields, options)
  return { ...config, method: 'delora', deloraLambda, lambdaPattern }
}

/** The lower bound of norms, as in PEFT. */
const LEAST_NORM = 1e-4

export const deloraMethod: AdapterMethod<DeloraConfig, typeof fields> = {
  name: 'delora',
  options: fields,
  config: delora,
  learningRate: () => 2e-4,
  readByPeft: true,
  rankLimit: (_, layer) => rankOfProduct(layer),

  // B is zero, so ΔW is.
  tensors: {
    delora_A: { shape: factorShapes.a, initial: kaimingUniform },
    delora_B: { shape: factorShapes.b },
    delora_lambda: {
      shape: () => [1],
      initial: ({ config, layer }) =>
        Float32Array.of(patternValue(config.lambdaPattern, layer.name) ?? config.deloraLambda),
    },
    delora_w_norm: {
      shape: (_, { inFeatures }) => [inFeatures],
      frozen: true,
      initial: ({ weight }) => scope(() => norms(transpose(weight.values('float32')))),
    },
  },

  layer({ dropout }, options, tensors) {
    const [a, b] = [tensors.parameter('delora_A'), tensors.parameter('delora_B')]
    const [lambda, ofColumns] = [tensors.parameter('delora_lambda'), tensors.parameter('delora_w_norm')]
    const rank = a.shape[0]!
    /** Returns B's factor diag(λ / (rank ‖aᵢ‖ ‖bᵢ‖)) A diag(‖W‖) [rank, k]. */
    const scaledA = () => {
      const lengths = mul(norms(a, LEAST_NORM), norms(transpose(b), LEAST_NORM))
      return mul(scaleRows(a, div(lambda, mul(lengths, rank))), ofColumns)
    }
    return new DeltaLayer(options, dropout, [a, b, lambda, ofColumns], {
      delta: () => matmul(b, scaledA()),
      factors: () => ({
        rank,
        scale: 1,
        a: async () => {
          using values = noGrad(() => scope(scaledA))
          return (await values.data()) as Float32Array
        },
        b: async () => (await b.data()) as Float32Array,
      }),
    })
  },

  peft: {
    peft_type: 'DELORA',
    bias: 'none',
    delora_lambda: numberEntry('deloraLambda'),
    init_weights: true,
    lambda_pattern: patternsEntry('lambdaPattern'),
    module_dropout: dropoutEntry,
  },
}
