import { native } from '../native/addon.js'
import type { Destination } from '../tensor/destination.js'
import { scope } from '../tensor/scope.js'
import { Tensor } from '../tensor/tensor.js'
import type { LinearInput } from './linear-input.js'

/** Maximum number of rows of a square form: more rows have faster forms. */
export const MOST_SQUARE_ROWS = 32

/**
 * A contribution decompress(M compress(x)) to a few rows, without gradients. Adapters with equal keys differ in M alone: rows that have
 * different ones are compressed and decompressed together.
 */
export interface SquareForm {
  /** Names compression and decompression. */
  readonly key: string
  /** Names the compression: layers that read the same input share its result. */
  readonly inputKey: string
  /** Returns the compressed rows of x [T, k], [T, width]. */
  compress(x: Tensor): Tensor
  /** Writes `scale` times the products of compressed rows [T, width] with M, [T, width]. */
  multiply(z: Tensor, scale: number, products: Tensor): void
  /** Writes (or adds) the contribution [T, d] of products [T, width]. */
  decompress(products: Tensor, into: Destination): Tensor
}

/** Some rows, and the factor and square form of their adapter. */
export interface SquareRows {
  readonly from: number
  readonly to: number
  readonly factor: number
  readonly form: SquareForm
}

/** Writes (or adds) the contributions to the rows of an input. The forms have one key, and no row has two of them. */
export function squareContribution(input: LinearInput, all: readonly SquareRows[], into: Destination): Tensor {
  const [{ form }] = all as [SquareRows]
  const z = input.derive(form.inputKey, () => form.compress(input.x))
  const count = input.x.shape[0]!
  scope(() => {
    const products = Tensor.empty(z.shape, z)
    let written = 0
    for (const { from, to } of all) written += to - from
    if (written < count) native.fill(products.native, 0)
    for (const { from, to, factor, form } of all) {
      const whole = from === 0 && to === count
      form.multiply(whole ? z : z.rows(from, to), factor, whole ? products : products.rows(from, to))
    }
    form.decompress(products, into)
  })
  return into.target
}
