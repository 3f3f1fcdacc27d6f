import { UsageError } from '../../errors.js'
import { native } from '../../native.js'
import type { LayerUpdate } from '../../nn/layer-adapter.js'
import { optionalFlag, optionalInteger, optionalReal } from '../../schema/option.js'
import type { Parameter } from '../../tensor/parameter.js'
import { keep, scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { AdapterConfigBase, AdapterMethod, LayerFacts, LayerOptions } from '../contract/adapter.js'
import { checkedConfig, newAdapterGroup as group, requireOneRank } from '../contract/adapter-config.js'
import { AdapterLayer, memoryOfWeightForm, weightGradient } from '../contract/adapter-layer.js'
import { commonEntries, ownDropout, positiveFrom, wholeFrom, writeOwnDropout } from '../contract/peft-entries.js'
import { blocksByCayley, blocksBySeries, type Rotations } from './oft-rotations.js'
import { limitNorms, scaled } from './rows.js'

export interface OftConfig extends AdapterConfigBase {
  readonly method: 'oft'
  /** Number of blocks of each layer's inputs; null: blocks of `rank` inputs. */
  readonly oftBlocks: number | null
  /** One rotation for all blocks of a layer. */
  readonly oftShared: boolean
  /** Terms of the Cayley–Neumann series that stands for the rotation; 0 is the exact one. */
  readonly oftTerms: number
  /** Constrained OFT: the norm of all Q of a layer at most; null is none. */
  readonly oftBound: number | null
}

const fields = {
  oftBlocks: optionalInteger('OFT: the number of blocks that inputs are cut into, in place of the side of one (rank)', {
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
  oftBound: optionalReal('OFT: bound of the norm of what turns the inputs of a layer, shared equally by its blocks', {
    above: 0,
    defaultText: 'none',
    group,
  }),
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
    throw new UsageError('bad-value', 'oftTerms 1 leaves the identity alone: give 0, or at least 2.')
  }
  return { ...config, method: 'oft', oftBlocks: oftBlocks ?? null, oftShared, oftTerms, oftBound: oftBound ?? null }
}

/** The side of a layer's blocks: that divisor of its inputs which is nearest to the wanted one, the smaller of two. */
export function blockSide({ rank, oftBlocks }: OftConfig, { inFeatures }: LayerFacts): number {
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

export class OftLayer extends AdapterLayer {
  /** [1, b²] columns of (q, 0): where an element of Q and one of Qᵀ are found, as far as they lie above the diagonal. */
  readonly #above: Tensor
  readonly #below: Tensor
  /** [n] places in b² of the values of q, and of their mirror images. */
  readonly #places: Tensor
  readonly #mirrored: Tensor

  constructor(
    options: LayerOptions,
    dropout: number,
    /** [blocks or 1, b (b − 1) / 2]: Q above the diagonal, row by row. */
    readonly q: Parameter,
    readonly side: number,
    readonly terms: number,
    readonly bound: number | null,
  ) {
    const count = (side * (side - 1)) / 2
    const [above, below] = [0, 1].map(() => new Int32Array(side * side).fill(count)) as [Int32Array, Int32Array]
    const [places, mirrored] = [0, 1].map(() => new Int32Array(count)) as [Int32Array, Int32Array]
    let at = 0
    for (let row = 0; row < side; row++) {
      for (let column = row + 1; column < side; column++, at++) {
        const [one, other] = [row * side + column, column * side + row]
        above[one] = at
        below[other] = at
        places[at] = one
        mirrored[at] = other
      }
    }
    const tensors = [above, below, places, mirrored].map((values) =>
      keep(Tensor.from(values, [values.length], { device: options.device, dtype: 'int32' })),
    ) as [Tensor, Tensor, Tensor, Tensor]
    super(options, dropout, [q, ...tensors])
    ;[this.#above, this.#below, this.#places, this.#mirrored] = tensors
  }

  weightUpdate(scale: number): LayerUpdate {
    return {
      parameters: this.parameters,
      addTo: (rows, weight) =>
        scope(() => {
          const { change } = this.#rotations()
          this.#eachBlock(floatsOf(weight), rows, change, (w, target, turn) =>
            native.matmul({
              a: w.native,
              b: turn.native,
              transposeB: true,
              c: target.native,
              alpha: scale,
              accumulate: true,
            }),
          )
        }),
      backward: (dY, x, [dQ], weight) =>
        scope(() => {
          const gradient = weightGradient(dY, x)
          const rotations = this.#rotations()
          const dChange = Tensor.zeros(rotations.change.shape, { device: x.device })
          this.#eachBlock(gradient, floatsOf(weight), dChange, (g, w, turn) =>
            native.matmul({
              a: g.native,
              transposeA: true,
              b: w.native,
              c: turn.native,
              alpha: scale,
              accumulate: true,
            }),
          )
          const dSkew = rotations.backward(dChange).view([this.q.shape[0]!, this.side ** 2])
          dQ!.write((target, add) => {
            native.gatherColumns(dSkew.native, this.#places.native, target.native, add)
            const mirrored = Tensor.empty(target.shape, target)
            native.gatherColumns(dSkew.native, this.#mirrored.native, mirrored.native, false)
            native.add(mirrored.native, target.native, -1)
          })
          if (dQ!.needed) this.#keepBounded()
        }),
    }
  }

  /** Q as far as the bound goes: a block with a larger norm is made smaller, as a whole. */
  #bounded(): Tensor {
    const { q, bound } = this
    // A norm of Q is √2 times that of its upper half.
    return bound === null ? q : scaled(q, limitNorms(q, bound / Math.sqrt(2 * q.shape[0]!)).factors)
  }

  /** As in PEFT, an optimizer steps from the bounded values, with the gradient that they have. */
  #keepBounded(): void {
    if (this.bound === null) return
    native.copy(this.#bounded().native, this.q.native, 1)
    this.q.version++
  }

  /** R − I of every block, [blocks or 1, b, b], and how its gradient becomes that of Q. */
  #rotations(): Rotations {
    const { side, terms } = this
    const q = this.#bounded()
    const [blocks, count] = q.shape as [number, number]
    const padded = Tensor.zeros([blocks, count + 1], q)
    padded.columns(0, count).copyFrom(q)
    const [skew, mirrored] = [0, 1].map(() => Tensor.empty([blocks, side ** 2], q)) as [Tensor, Tensor]
    native.gatherColumns(padded.native, this.#above.native, skew.native, false)
    native.gatherColumns(padded.native, this.#below.native, mirrored.native, false)
    native.add(mirrored.native, skew.native, -1)
    const matrices = skew.view([blocks, side, side])
    return terms === 0 ? blocksByCayley(matrices) : blocksBySeries(matrices, terms)
  }

  /** Blocks of columns [blocks, d, b] of two matrices [d, k] with their rotation [blocks, b, b]: all at once, or one by one. */
  #eachBlock(
    one: Tensor,
    other: Tensor,
    rotation: Tensor,
    visit: (one: Tensor, other: Tensor, rotation: Tensor) => void,
  ): void {
    const { side } = this
    const [rows, columns] = one.shape as [number, number]
    const blocks = columns / side
    const cut = (matrix: Tensor) => matrix.view([blocks, rows, side], [side, matrix.strides[0]!, 1])
    if (rotation.shape[0] === blocks) {
      visit(cut(one), cut(other), rotation)
      return
    }
    const shared = rotation.view([side, side])
    for (let at = 0; at < columns; at += side) visit(one.columns(at, at + side), other.columns(at, at + side), shared)
  }
}

/** The values of a weight in float32. */
function floatsOf(weight: Tensor): Tensor {
  if (weight.dtype === 'float32') return weight
  const values = Tensor.empty(weight.shape, { device: weight.device })
  native.dequantise(weight.native, values.native)
  return values
}

export const oftMethod: AdapterMethod<OftConfig, typeof fields> = {
  name: 'oft',
  options: fields,
  lacks: ['rankPattern'],
  config: oft,
  learningRate: () => 1e-3,
  readByPeft: true,
  rankLimit: (_, { name, inFeatures }) => ({ most: inFeatures, of: `inputs of ${name}` }),
  layerMemory(config, layer) {
    const side = blockSide(config, layer)
    return { ...memoryOfWeightForm(layer), tables: 2 * side ** 2 + side * (side - 1) }
  },

  tensors: {
    oft_R: {
      shape(config, layer) {
        const side = blockSide(config, layer)
        return [config.oftShared ? 1 : layer.inFeatures / side, (side * (side - 1)) / 2]
      },
      inFile: 'oft_R.weight',
    },
  },

  requireFit(config, layer) {
    if (blockSide(config, layer) > 1) return
    throw new UsageError(
      'invalid-rank',
      `Blocks of one input cannot be rotated: give oft another rank for the ${layer.inFeatures} inputs of ${layer.name}.`,
    )
  },

  layer: (config, options, tensors) =>
    new OftLayer(
      options,
      config.dropout,
      tensors.parameter('oft_R'),
      blockSide(config, options.layer),
      config.oftTerms,
      config.oftBound,
    ),

  fromPeft(json, source) {
    if (json.peft_type !== 'OFT') return null
    if ((json.module_dropout ?? 0) !== 0) {
      throw new UsageError('unsupported-option', `${source} has module_dropout, which is not supported.`)
    }
    const side = wholeFrom(json, 'oft_block_size', source, 0)
    const blocks = wholeFrom(json, 'r', source, 0)
    const terms = wholeFrom(json, 'num_cayley_neumann_terms', source, 5)
    return oft({
      ...commonEntries({ ...json, r: side || blocks }, source),
      dropout: ownDropout(json, source),
      oftBlocks: side === 0 ? blocks : null,
      oftShared: json.block_share === true,
      oftTerms: json.use_cayley_neumann === true ? terms : 0,
      oftBound: json.coft === true ? positiveFrom(json, 'eps', source) : null,
    })
  },

  toPeft: ({ dropout, rank, oftBlocks, oftShared, oftTerms, oftBound }) => ({
    ...writeOwnDropout('oft', dropout),
    bias: 'none',
    block_share: oftShared,
    coft: oftBound !== null,
    eps: oftBound ?? 6e-5,
    fan_in_fan_out: false,
    init_weights: true,
    module_dropout: 0,
    num_cayley_neumann_terms: oftTerms === 0 ? 5 : oftTerms,
    oft_block_size: oftBlocks === null ? rank : 0,
    peft_type: 'OFT',
    r: oftBlocks ?? 0,
    use_cayley_neumann: oftTerms > 0,
  }),
}
