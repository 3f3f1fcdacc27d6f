import { InputError } from '../../common/errors.js'
import type { RandomStream } from '../../common/random.js'
import { scatter } from '../../tensor/operations/factors.js'
import { keep } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { AdapterConfigBase, AdapterMethod, ConfigOf, LayerFacts, TensorStart } from '../contract/adapter.js'
import { checkedConfig, requireOneRank } from '../contract/adapter-config.js'
import { DeltaLayer, memoryOfWeightForm } from '../contract/adapter-layer.js'
import { ownDropout } from '../contract/peft-entries.js'

const fields = {}

/**
 * SHiRA (arXiv 2406.13175): ΔW is zero except at rank · (k + d) random positions, whose values are trained: as many as in a
 * LoRA of that rank.
 */
export function shira(options: Partial<Omit<AdapterConfigBase, 'method'>> = {}): ConfigOf<'shira'> {
  requireOneRank('shira', options)
  return { method: 'shira', ...checkedConfig(fields, options) }
}

const countOf = ({ rank }: ConfigOf<'shira'>, { inFeatures, outFeatures }: LayerFacts): number =>
  rank * (inFeatures + outFeatures)

/** Draws distinct positions, sorted by row and column: all rows, then all columns. */
function drawnPlaces({ layer, shape, random }: TensorStart<ConfigOf<'shira'>>): Int32Array {
  const count = shape[1]!
  const { inFeatures, outFeatures } = layer
  const indices = new Int32Array(2 * count)
  let at = 0
  for (const place of distinct(count, inFeatures * outFeatures, random)) {
    indices[at] = Math.floor(place / inFeatures)
    indices[count + at++] = place % inFeatures
  }
  return indices
}

/** Draws `count` distinct integers below `end`, ascending. */
function* distinct(count: number, end: number, random: RandomStream): Generator<number> {
  // If most are drawn, it is faster to draw the others.
  const inverted = count > end / 2
  const drawn = new Uint8Array(end)
  for (let left = inverted ? end - count : count; left > 0; ) {
    const place = Math.min(end - 1, Math.floor(random.uniform() * end))
    if (drawn[place]) continue
    drawn[place] = 1
    left--
  }
  for (let place = 0; place < end; place++) if (Boolean(drawn[place]) !== inverted) yield place
}

/** @throws InputError for a position outside of the weight, or a duplicate */
function placesOf(indices: Int32Array, { name, inFeatures, outFeatures }: LayerFacts): Int32Array {
  const count = indices.length / 2
  const places = Int32Array.from({ length: count }, (_, i) => indices[i]! * inFeatures + indices[count + i]!)
  const isOutside = (i: number) =>
    indices[i]! < 0 || indices[i]! >= outFeatures || indices[count + i]! < 0 || indices[count + i]! >= inFeatures
  const bad = places.findIndex((_, i) => isOutside(i))
  if (bad >= 0) {
    throw new InputError(
      'unfit-adapter',
      `shira_indices of ${name} name row ${indices[bad]} and column ${indices[count + bad]} of a weight [${outFeatures}, ${inFeatures}].`,
    )
  }
  if (new Set(places).size === count) return places
  throw new InputError('unfit-adapter', `shira_indices of ${name} name a place twice.`)
}

export const shiraMethod: AdapterMethod<ConfigOf<'shira'>, typeof fields> = {
  name: 'shira',
  options: fields,
  lacks: ['rankPattern'],
  config: shira,
  learningRate: () => 2e-4,
  readByPeft: true,

  tensors: {
    shira_weight: { shape: (config, layer) => [countOf(config, layer)] },
    shira_indices: { shape: (config, layer) => [2, countOf(config, layer)], dtype: 'int32', initial: drawnPlaces },
  },

  rankLimit: (_, { name, inFeatures, outFeatures }) => ({
    most: Math.floor((inFeatures * outFeatures) / (inFeatures + outFeatures)),
    of: `with which shira trains nearly all values of ${name} (${inFeatures} → ${outFeatures})`,
    refused: true,
  }),
  layerMemory: (config, layer) => ({ ...memoryOfWeightForm(layer), tables: countOf(config, layer) }),

  layer({ dropout }, options, tensors) {
    const { layer, device } = options
    const values = tensors.parameter('shira_weight')
    const found = placesOf(tensors.integers('shira_indices'), layer)
    const places = keep(Tensor.from(found, [found.length], { device, dtype: 'int32' }))
    return new DeltaLayer(options, dropout, [values, places], {
      delta: () => scatter(values, places, [layer.outFeatures, layer.inFeatures]),
    })
  },

  peft: {
    peft_type: 'SHIRA',
    fan_in_fan_out: false,
    init_weights: true,
    mask_type: 'random',
    node_mora: ownDropout,
  },
}
