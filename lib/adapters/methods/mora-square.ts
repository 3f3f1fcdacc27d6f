import { type FloatDType, native } from '../../native/addon.js'
import type { SquareForm } from '../../nn/square-form.js'
import type { Destination } from '../../tensor/destination.js'
import { alignedSide, groupSpread, groupSum, wideMatrix } from '../../tensor/operations/mora.js'
import { type SectionAngles, sectionAngles, sectionOutputs, sectionRows } from '../../tensor/operations/mora-rows.js'
import type { Parameter } from '../../tensor/parameter.js'
import { keep } from '../../tensor/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { MoraGeometry } from './mora-geometry.js'
import type { Permutation } from './permutation.js'

/** Maximum number of rows of a product in float32 on the CPU whose sums do not depend on the number of rows. */
const MOST_EXACT_ROWS = 32

/** MoRA's contribution to a few rows: compressed, multiplied with M once for all sections of a row, and decompressed. */
export class MoraSquare implements SquareForm {
  readonly key: string
  readonly inputKey: string
  #angles: SectionAngles | null = null

  constructor(
    readonly geometry: MoraGeometry,
    readonly permutation: Permutation | null,
    readonly scale: number,
    /** M [R, R] */
    readonly matrix: Parameter,
  ) {
    const order = permutation?.key ?? null
    this.key = JSON.stringify([geometry, order])
    this.inputKey = geometry.kind === 'groups' ? JSON.stringify([geometry.input, order]) : this.key
  }

  compress(x: Tensor): Tensor {
    const { geometry, permutation } = this
    const ordered = permutation ? permutation.inputs(x) : x
    if (geometry.kind === 'groups') return groupSum(ordered, geometry.input, alignedSide(geometry.input, x))
    if (geometry.plan.rotate) this.#angles ??= kept(sectionAngles(geometry.plan, x))
    return sectionRows(ordered, geometry.plan, this.#angles)
  }

  multiply(z: Tensor, scale: number, products: Tensor): void {
    const { matrix, geometry } = this
    const width = geometry.kind === 'groups' ? z.shape[1]! : matrix.shape[0]!
    const sections = (of: Tensor) => (of.shape[1] === width ? of : of.view([of.elements / width, width]))
    const [a, c] = [sections(z), sections(products)]
    const rows = a.shape[0]!
    const most = z.dtype === 'float32' && z.device.kind === 'cpu' ? MOST_EXACT_ROWS : rows
    const b = wideMatrix(matrix, width, z.dtype as FloatDType).native
    for (let from = 0; from < rows; from += most) {
      const part = (of: Tensor) => (rows > most ? of.rows(from, Math.min(rows, from + most)) : of).native
      native.matmul({ a: part(a), b, transposeB: true, c: part(c), alpha: scale * this.scale })
    }
  }

  decompress(products: Tensor, into: Destination): Tensor {
    const { geometry, permutation } = this
    const outputs = (to?: Destination) =>
      geometry.kind === 'groups'
        ? groupSpread(products, geometry.output, to)
        : sectionOutputs(products, geometry.plan, to)
    return permutation ? permutation.outputs(outputs(), into) : outputs(into)
  }

  dispose(): void {
    for (const table of Object.values(this.#angles ?? {})) table.dispose()
  }
}

function kept(angles: SectionAngles): SectionAngles {
  for (const table of Object.values(angles)) keep(table)
  return angles
}
