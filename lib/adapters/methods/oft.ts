import { UsageError } from '../../common/errors.js'
import { optionName } from '../../common/option-names.js'
import { elementsOf, native } from '../../native/addon.js'
import { optionalFlag, optionalInteger, optionalReal } from '../../schema/option.js'
import { cast, div, sub } from '../../tensor/operations/arithmetic.js'
import { scaleRows, scatter, transpose } from '../../tensor/operations/factors.js'
import { product } from '../../tensor/operations/products.js'
import { norms } from '../../tensor/operations/reductions.js'
import { reshape } from '../../tensor/operations/reshaping.js'
import type { Parameter } from '../../tensor/parameter.js'
import { keep } from '../../tensor/scope.js'
import { noGrad, record } from '../../tensor/tape.js'
import { Tensor } from '../../tensor/tensor.js'
import type { AdapterConfigBase, AdapterMethod, LayerFacts } from '../contract/adapter.js'
import { checkedConfig, newAdapterGroup as group, requireOneRank } from '../contract/adapter-config.js'
import { DeltaLayer, memoryOfWeightForm } from '../contract/adapter-layer.js'
import { flagEntry, onlyEntry, ownDropout, positiveEntry, rankEntry, wholeEntry } from '../contract/peft-entries.js'
import { rotationChange } from './oft-rotations.js'

export interface OftConfig extends AdapterConfigBase {
  readonly method: 'oft'
  /** Number of blocks of each layer's inputs; null: blocks of `rank` inputs. */
  readonly oftBlocks: number | null
  /** Whether all blocks of a layer share one rotation. */
  readonly oftShared: boolean
  /** Terms of the Cayley–Neumann series for the rotation; 0 is the exact rotation. */
  readonly oftTerms: number
  /** Constrained OFT: the maximum norm of all Q of a layer; null for none. */
  readonly oftBound: number | null
}

const fields = {
  oftBlocks: optionalInteger('OFT: number of blocks of the inputs, instead of their side (rank)', {
    min: 1,
    defaultText: 'blocks of rank inputs',
    group,
  }),
  oftShared: optionalFlag('OFT: one rotation for all blocks of a layer', { defaultText: 'false', group }),
  oftTerms: optionalInteger('OFT: terms of the Cayley-Neumann series; 0 is the exact rotation', {
    min: 0,
    defaultText: '5',
    group,
  }),
  oftBound: optionalReal(
    "OFT: maximum norm of a layer's rotation generator (COFT's eps), shared equally by its blocks",
    {
      above: 0,
      defaultText: 'none',
      group,
    },
  ),
}

/**
 * OFT (arXiv 2306.07280, in the form of arXiv 2506.19847): blocks of `rank` inputs are rotated before W sees them, so
 * W' = W Rᵀ with R orthogonal, from skew-symmetric Q that starts at zero. A block has rank (rank − 1) / 2 values.
 */
export function oft(options: Partial<Omit<OftConfig, 'method'>> = {}): OftConfig {
  requireOneRank('oft', options)
  const { oftBlocks, oftBound, ...given } = options
  const orNone = { oftBlocks: oftBlocks ?? undefined, oftBound: oftBound ?? undefined }
  const config = checkedConfig(fields, { ...given, ...orNone })
  const { oftTerms = 5, oftShared = false } = config
  if (oftTerms === 1) {
    throw new UsageError('bad-value', `${optionName('oftTerms')} 1 leaves the identity alone: give 0, or at least 2.`)
  }
  return { ...config, method: 'oft', oftBlocks: oftBlocks ?? null, oftShared, oftTerms, oftBound: oftBound ?? null }
}

/** Returns the side of a layer's blocks: the divisor of its inputs nearest to the wanted side, the smaller one of two. */
function blockSide({ rank, oftBlocks }: OftConfig, { inFeatures }: LayerFacts): number {
  const nearest = (wanted: number): number => {
    for (let distance = 0; distance < inFeatures; distance++) {
      for (const side of [wanted - distance, wanted + distance]) {
        if (side >= 1 && side <= inFeatures && inFeatures % side === 0) return side
      }
    }
    return 1
  }
  return oftBlocks === null ? nearest(rank) : inFeatures / nearest(oftBlocks)
}

function shapeOfQ(config: OftConfig, layer: LayerFacts): [number, number] {
  const side = blockSide(config, layer)
  return [config.oftShared ? 1 : layer.inFeatures / side, (side * (side - 1)) / 2]
}

/** Returns the indices of the values above the diagonals of Q [blocks, side, side], row by row. */
function placesAbove(blocks: number, side: number): Int32Array {
  const places = new Int32Array((blocks * side * (side - 1)) / 2)
  let at = 0
  for (let row = 0; row < blocks * side; row++) {
    for (let column = (row % side) + 1; column < side; column++) places[at++] = row * side + column
  }
  return places
}

/**
 * Bounds q: a block with a larger norm is scaled down as a whole. As in PEFT, an optimizer steps from the bounded values, with
 * their gradient.
 */
function bounded(q: Parameter, bound: number): Tensor {
  // A norm of Q is √2 times that of its upper half.
  const most = bound / Math.sqrt(2 * q.shape[0]!)
  const values = noGrad(() => scaleRows(q, div(most, norms(q, most))))
  return record(values, [q], [values.view(q.shape)], (gradient, [own], [dQ]) => {
    dQ!.pass(gradient)
    native.copy(own!.native, q.native, 1)
    q.version++
  })
}

/** Returns W (R − I)ᵀ [d, k] by blocks of columns, for R − I [blocks or 1, b, b]. */
function turned(weight: Tensor, change: Tensor): Tensor {
  const w = cast(weight, 'float32')
  const [rows, columns] = w.shape as [number, number]
  const [count, side] = change.shape as [number, number]
  if (count === 1) {
    const every = w.view([(rows * columns) / side, side])
    return reshape(product(every, reshape(change, [side, side]), { transposeB: true }), w.shape)
  }
  const blocks = w.view([count, rows, side], [side, columns, 1])
  return product(blocks, change, { transposeB: true, sideBySide: true })
}

const boundEntry = positiveEntry('oftBound')
const termsEntry = wholeEntry('oftTerms', { absent: 5 })

export const oftMethod: AdapterMethod<OftConfig, typeof fields> = {
  name: 'oft',
  rankMeaning: 'the block side',
  options: fields,
  lacks: ['rankPattern'],
  config: oft,
  learningRate: () => 1e-3,
  readByPeft: true,
  rankLimit: (_, { name, inFeatures }) => ({ most: inFeatures, of: `inputs of ${name}` }),
  layerMemory: (config, layer) => ({ ...memoryOfWeightForm(layer), tables: elementsOf(shapeOfQ(config, layer)) }),

  tensors: {
    oft_R: { shape: shapeOfQ, inFile: 'oft_R.weight' },
  },

  requireFit(config, layer) {
    if (blockSide(config, layer) > 1) return
    throw new UsageError(
      'invalid-rank',
      `Blocks of one input cannot be rotated: give oft another rank for the ${layer.inFeatures} inputs of ${layer.name}.`,
    )
  },

  layer(config, options, tensors) {
    const { dropout, oftBound: bound, oftTerms } = config
    const q = tensors.parameter('oft_R')
    const side = blockSide(config, options.layer)
    const shape = [q.shape[0]!, side, side]
    const places = keep(
      Tensor.from(placesAbove(shape[0]!, side), [q.elements], { device: options.device, dtype: 'int32' }),
    )
    return new DeltaLayer(options, dropout, [q, places], {
      readsWeight: true,
      delta(weight) {
        const above = scatter(bound === null ? q : bounded(q, bound), places, shape)
        return turned(weight, rotationChange(sub(above, transpose(above)), oftTerms))
      },
    })
  },

  peft: {
    peft_type: 'OFT',
    bias: 'none',
    block_share: flagEntry('oftShared'),
    coft: { write: ({ oftBound }) => oftBound !== null },
    eps: {
      read: (eps, place) => (place.json.coft === true ? boundEntry.read(eps, place) : { oftBound: null }),
      write: ({ oftBound }) => oftBound ?? 6e-5,
    },
    fan_in_fan_out: false,
    init_weights: true,
    module_dropout: onlyEntry(0),
    node_mora: ownDropout,
    num_cayley_neumann_terms: {
      read: (terms, place) =>
        place.json.use_cayley_neumann === true ? termsEntry.read(terms, place) : { oftTerms: 0 },
      write: ({ oftTerms }) => (oftTerms === 0 ? 5 : oftTerms),
    },
    // The side of blocks or their number; the other is 0.
    oft_block_size: {
      read: (side, place) => (side ? rankEntry.read(side, place) : {}),
      write: ({ rank, oftBlocks }) => (oftBlocks === null ? rank : 0),
    },
    r: {
      read(blocks, place) {
        if (place.json.oft_block_size) return {}
        const { rank } = rankEntry.read(blocks, place)
        return { rank, oftBlocks: rank }
      },
      write: ({ oftBlocks }) => oftBlocks ?? 0,
    },
    use_cayley_neumann: { write: ({ oftTerms }) => oftTerms > 0 },
  },
}
