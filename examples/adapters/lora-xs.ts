/**
 * A method of one's own in one file: LoRA-XS (arXiv 2405.17604) with random bases. ΔW = B M A, where A [r, k] and
 * B [d, r] are drawn and frozen, and M [r, r] alone is trained: r² values a layer, whatever its size.
 */
import {
  type AdapterConfigBase,
  type AdapterMethod,
  checkedConfig,
  DeltaLayer,
  type Destination,
  dropoutEntry,
  factor,
  type LayerOptions,
  type LinearInput,
  matmul,
  type Parameter,
  rankOf,
  type Tensor,
  type TensorStart,
} from 'node-mora/adapters'

export interface LoraXsConfig extends AdapterConfigBase {
  readonly method: 'lora-xs'
}

/** LoRA-XS has no options of its own, only those of every method. */
const fields = {}

/** Options of `model.addAdapter('name', loraXs({ rank: 16 }))`. */
export function loraXs(options: Partial<Omit<LoraXsConfig, 'method'>> = {}): LoraXsConfig {
  return { method: 'lora-xs', ...checkedConfig(fields, options) }
}

/** The adapter of one linear layer. */
class LoraXsLayer extends DeltaLayer {
  override readonly makesWeight = false

  constructor(
    options: LayerOptions,
    dropout: number,
    /** [r, k], frozen */
    readonly a: Parameter,
    /** [r, r] */
    readonly m: Parameter,
    /** [d, r], frozen */
    readonly b: Parameter,
  ) {
    // Gradients, merging, saving and tables follow from ΔW.
    super(options, dropout, [a, m, b], { delta: () => matmul(b, matmul(m, a)) })
  }

  /** y += scale · B M A x: three thin products, recorded on the tape by `factor`. */
  override forward(input: LinearInput, scale: number, into: Destination): Tensor {
    return factor(factor(factor(this.seen(input).x, this.a), this.m), this.b, scale, into)
  }

  /** Three thin products beside the weight's own cost less than adding ΔW to the weight. */
  override asWeightUpdate(): null {
    return null
  }
}

/** Normal numbers of variance 1 / columns. */
function normal({ shape, random }: TensorStart<LoraXsConfig>): Float32Array {
  const [rows, columns] = shape as [number, number]
  return Float32Array.from({ length: rows * columns }, () => random.normal() / Math.sqrt(columns))
}

export const loraXsMethod: AdapterMethod<LoraXsConfig> = {
  name: 'lora-xs',
  options: fields,
  config: loraXs,
  learningRate: () => 1e-3,

  /** M is zero, so ΔW is. */
  tensors: {
    xs_A: { shape: (config, layer) => [rankOf(config, layer), layer.inFeatures], frozen: true, initial: normal },
    xs_M: { shape: (config, layer) => [rankOf(config, layer), rankOf(config, layer)] },
    xs_B: { shape: (config, layer) => [layer.outFeatures, rankOf(config, layer)], frozen: true, initial: normal },
  },

  /** The details of a layer that `inspect` shows. */
  describeLayer: (shapeOf) => ({ innerSide: shapeOf('xs_M')[0]! }),

  layer({ dropout }, options, tensors) {
    const [a, m, b] = ['xs_A', 'xs_M', 'xs_B'].map((name) => tensors.parameter(name)) as [
      Parameter,
      Parameter,
      Parameter,
    ]
    return new LoraXsLayer(options, dropout, a, m, b)
  },

  peft: { peft_type: 'LORA_XS', bias: 'none', xs_dropout: dropoutEntry },
}
