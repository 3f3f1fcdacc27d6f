import { assemble, type Part } from '../tensor/destination.js'
import {
  addBias,
  changedWeight,
  int8Linear,
  updatedLinear,
  type WeightUpdate,
  weightProduct,
} from '../tensor/operations/linear.js'
import type { Tensor } from '../tensor/tensor.js'
import { type Weight, weightOf } from '../tensor/weight.js'
import type { LayerAdapter } from './layer-adapter.js'
import type { LinearInput } from './linear-input.js'
import { partsOfRows } from './row-adapters.js'

/** An adapter attached to one layer. */
interface AttachedAdapter {
  readonly layer: LayerAdapter
  active: boolean
  /** Factor of its contribution. */
  scale: number
}

/** y = x Wᵀ + b with adapters attached to W [d, k], which is frozen (in any storage), or a float32 Parameter. */
export class Linear {
  /** Adapters by name, in the order in which they were added; only active ones contribute. */
  readonly adapters = new Map<string, AttachedAdapter>()
  /** Called with the input [T, k] of each product. */
  observer: ((x: Tensor) => void) | null = null

  constructor(
    /** Module path as in Hugging Face's checkpoints, without `.weight`. */
    readonly name: string,
    public weight: Weight,
    public bias: Tensor | null,
    readonly role?: 'embeddings' | 'head',
  ) {}

  get inFeatures(): number {
    return this.weight.shape[1]!
  }

  get outFeatures(): number {
    return this.weight.shape[0]!
  }

  activeAdapters(): AttachedAdapter[] {
    return [...this.adapters.values()].filter(({ active }) => active)
  }

  forward(input: LinearInput): Tensor {
    return forwardTogether([this], null, input)
  }

  /**
   * Returns the weight with the changes of active adapters, in float32, for uses other than a single product. Each call costs a
   * pass over the weight; without adapters it returns the weight itself.
   */
  adaptedWeight(): Weight {
    const active = this.activeAdapters()
    if (active.length === 0) return this.weight
    const updates = active.map(({ layer, scale }) => layer.weightUpdate(scale)!)
    return weightOf(changedWeight(this.weight, updates))
  }
}

/**
 * Linear layers that read the same input, with one result [T, Σ d]: their weights are stored as one matrix, so one product
 * serves all of them as long as none is trained.
 */
export class LinearGroup {
  constructor(
    readonly layers: readonly Linear[],
    /** [Σ d, k]; the layers' weights are rows of it. Null if they are stored in different formats. */
    readonly fused: Weight | null,
  ) {}

  forward(input: LinearInput): Tensor {
    const frozen = this.layers.every(({ weight }) => weight.parameter === null)
    return forwardTogether(this.layers, frozen ? this.fused : null, input)
  }
}

function forwardTogether(layers: readonly Linear[], fused: Weight | null, input: LinearInput): Tensor {
  const columns = ranges(layers)
  const width = columns.at(-1)?.to ?? 0
  for (const { observer } of layers) observer?.(input.x)
  const updates: WeightUpdate[] = []
  const adapted: Part[] = []
  let adaptedLayers = 0
  for (const [i, layer] of layers.entries()) {
    const before = adapted.length
    for (const { layer: adapter, scale } of layer.activeAdapters()) {
      const joins = !input.int8 && updatePays(adapter, input.x) && layer.weight.parameter === null
      const update = joins ? adapter.asWeightUpdate(input, scale) : null
      if (update) updates.push({ ...columns[i]!, ...update })
      else adapted.push({ ...columns[i]!, write: (into) => adapter.forward(input, scale, into, layer.weight) })
    }
    if (adapted.length > before) adaptedLayers++
  }
  const ofRows = layers.flatMap((layer, i) => partsOfRows(layer, columns[i]!, input))
  const weights = fused
    ? [{ from: 0, to: width, weight: fused }]
    : layers.map(({ weight }, i) => ({ ...columns[i]!, weight }))
  const base = weights.map(({ from, to, weight }): Part => {
    const own = updates.filter((update) => update.from >= from && update.to <= to)
    const placed = own.map((update) => ({ ...update, from: update.from - from, to: update.to - from }))
    const product = input.int8 && weight.parameter === null ? int8Linear : weightProduct
    return {
      from,
      to,
      write: (into) =>
        placed.length > 0 ? updatedLinear(input.x, weight, placed, into) : product(input.x, weight, into),
    }
  })
  // If every layer has an adapter, adapters come first: repeated outputs are then copies, and the base product adds to them.
  const parts =
    adaptedLayers === layers.length && !input.isBaseFirst ? [...adapted, ...base] : [...base, ...adapted, ...ofRows]
  for (const [i, range] of columns.entries()) {
    const { bias } = layers[i]!
    if (bias) parts.push({ ...range, write: (into) => addBias(bias, into) })
  }
  return assemble([input.x.shape[0]!, width], parts, input.x)
}

/**
 * Whether adding ΔW to W for one product is faster than a separate product for ΔW. It takes a pass over W, which is less once
 * there are many rows. Only if products run in float32: W + ΔW rounded to 16 bits would lose small updates.
 */
function updatePays({ makesWeight }: LayerAdapter, { device, dtype, shape }: Tensor): boolean {
  const enoughRows = 256
  if (makesWeight && dtype === 'float32') return true
  const isExact = device.kind === 'cpu' && (dtype !== 'bfloat16' || !device.facts().fastBfloat16)
  return isExact && (shape[0]! >= enoughRows || makesWeight === true)
}

/** Returns each layer's columns in their common matrix. */
function ranges(layers: readonly Linear[]): { from: number; to: number }[] {
  let to = 0
  return layers.map((layer) => {
    const from = to
    to += layer.outFeatures
    return { from, to }
  })
}
