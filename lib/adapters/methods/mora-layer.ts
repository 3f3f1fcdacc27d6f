/** MoRA beside one layer: its compression and decompression operators, and the square matrix between them. */
import { type Grouping, native } from '../../native/addon.js'
import type { LayerUpdate, LowRankFactors } from '../../nn/layer-adapter.js'
import type { LinearInput } from '../../nn/linear-input.js'
import { MOST_SQUARE_ROWS, squareContribution } from '../../nn/square-form.js'
import type { Destination } from '../../tensor/destination.js'
import { writeWeightGradient } from '../../tensor/gradient-writes.js'
import {
  alignedSide,
  foldSections,
  groupSpread,
  groupSum,
  sections,
  sectionsMatrixGradient,
  squareFactor,
} from '../../tensor/operations/mora.js'
import type { Parameter } from '../../tensor/parameter.js'
import { keep, scope } from '../../tensor/scope.js'
import { isRecording } from '../../tensor/tape.js'
import { type GradientTarget, Tensor } from '../../tensor/tensor.js'
import type { LayerOptions } from '../contract/adapter.js'
import { AdapterLayer } from '../contract/adapter-layer.js'
import { type MoraGeometry, moraGeometry } from './mora-geometry.js'
import type { Operator } from './mora-operators.js'
import { MoraSquare } from './mora-square.js'
import { Permutation, type PermutationKey } from './permutation.js'

/** weight [d, k] += scale ΔW for the matrix [R, R] (float32); counts non-finite results if `nonFinite` is given. */
function mergeMatrix(
  geometry: MoraGeometry,
  matrix: Tensor,
  scale: number,
  weight: Tensor,
  nonFinite: Tensor | null,
): void {
  const count = nonFinite?.native ?? null
  if (geometry.kind === 'groups') {
    native.mergeGroups({
      input: geometry.input,
      output: geometry.output,
      matrix: matrix.native,
      scale,
      weight: weight.native,
      nonFinite: count,
    })
    return
  }
  scope(() => {
    const folded = foldSections(geometry.plan, matrix, 'float32')
    native.mergeSections(geometry.plan, folded.native, scale, weight.native, count)
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
    writeWeightGradient(dMatrix, dZ, z, scale)
  })
}

export interface MoraLayerConfig {
  /** The operator of compression and decompression; default: rotation below rank 64, sharing from there on. */
  readonly operator: Operator
  /** ΔW is multiplied by this; 1 as in the reference. */
  readonly scale: number
  /** Rotation only: outputs past d are added to the first ones instead of being cut. */
  readonly foldOutput: boolean
  /** Probability with which an element of the adapter's input is dropped while training. */
  readonly dropout: number
  /** The key of a random order of inputs and outputs; null, the default, is their own order. */
  readonly permutation?: PermutationKey | null
}

export class MoraLayer extends AdapterLayer {
  readonly square: MoraSquare
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
    this.square = new MoraSquare(this.#geometry, this.#permutation, config.scale, matrix)
  }

  override forward(input: LinearInput, scale: number, into: Destination): Tensor {
    const seen = this.seen(input)
    const rows = seen.x.shape[0]!
    if (rows <= MOST_SQUARE_ROWS && !isRecording()) {
      return squareContribution(seen, [{ from: 0, to: rows, factor: scale, form: this.square }], into)
    }
    const permutation = this.#permutation
    if (!permutation) return this.#between(seen, seen.x, '', scale, into)
    const order = `permuted ${permutation.key.seed} ${permutation.key.cycle}`
    const x = seen.derive(order, () => permutation.inputs(seen.x))
    return permutation.outputs(this.#between(seen, x, order, scale), into)
  }

  /** Returns the contribution for x in the order of groups or sections; `order` names it. */
  #between(input: LinearInput, x: Tensor, order: string, scale: number, into?: Destination): Tensor {
    const total = scale * this.config.scale
    if (this.#geometry.kind === 'sections') return sections(x, this.matrix, this.#geometry.plan, total, into)
    const { input: compress, output } = this.#geometry
    const z = input.derive(`${compress.kind} ${compress.side} ${order}`, () =>
      groupSum(x, compress, alignedSide(compress, x)),
    )
    return groupSpread(squareFactor(z, this.matrix, total), output, into)
  }

  override asWeightUpdate(input: LinearInput, scale: number): LayerUpdate | null {
    return this.#geometry.kind === 'sections' ? super.asWeightUpdate(input, scale) : null
  }

  weightUpdate(scale: number): LayerUpdate | null {
    if (this.#permutation) return null
    const geometry = this.#geometry
    const total = scale * this.config.scale
    return {
      parameters: this.parameters,
      readsWeight: false,
      addTo: (rows) => mergeMatrix(geometry, this.matrix, total, rows, null),
      backward: (dY, x, [dMatrix]) => {
        if (geometry.kind === 'sections') sectionsMatrixGradient(geometry.plan, x, dY, total, dMatrix!)
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
   * Returns the factors of sharing: B [d, R], zeros and ones, spreads groups over outputs, and A [R, k] is M times the matrix
   * that sums inputs. A grouping into R single columns leaves out one of the two.
   */
  override factors(): LowRankFactors | null {
    const { layer, device } = this.options
    const geometry = this.#geometry
    const permutation = this.#permutation
    const rank = this.matrix.shape[0]!
    if (geometry.kind === 'sections') return null
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

  override dispose(): void {
    super.dispose()
    this.square.dispose()
    this.#permutation?.dispose()
  }
}

async function valuesOf(make: () => Tensor): Promise<Float32Array> {
  using tensor = keep(scope(make))
  return (await tensor.data()) as Float32Array
}
