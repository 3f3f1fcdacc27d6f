import { record } from './tape.js'
import { Tensor, type TensorOptions } from './tensor.js'

/** Where an operation puts its result: a view of a larger matrix, and whether to add to its values. */
export interface Destination {
  /** The memory of the result, of its shape and dtype. */
  readonly target: Tensor
  /** Whether the result is added to the values of `target`. */
  readonly accumulate: boolean
}

/** Returns the given destination, or a new matrix as one. */
export function destinationOr(
  into: Destination | undefined,
  shape: readonly number[],
  options: TensorOptions,
): Destination {
  return into ?? { target: Tensor.empty(shape, options), accumulate: false }
}

/** One contribution to some columns of an assembled matrix. */
export interface Part {
  readonly from: number
  readonly to: number
  /** Writes (or adds) its columns and returns the destination's tensor, recorded on the tape. */
  readonly write: (into: Destination) => Tensor
}

/**
 * Builds a matrix [T, columns] out of parts that are written in place, in order: the first part of a column writes it, later
 * ones add to it, so no part needs memory of its own. Every column has a part, and two parts that share one must cover the same
 * columns. In the backward pass every part reads its columns of the one gradient.
 */
export function assemble(shape: readonly [number, number], parts: readonly Part[], options: TensorOptions): Tensor {
  const whole = Tensor.empty(shape, options)
  const [first] = parts
  if (parts.length === 1 && first?.from === 0 && first.to === shape[1])
    return first.write({ target: whole, accumulate: false })
  const written = new Uint8Array(shape[1])
  const pieces = parts.map(({ from, to, write }) => {
    const accumulate = written[from] === 1
    const view = from === 0 && to === shape[1] ? whole.view(shape) : whole.columns(from, to)
    written.fill(1, from, to)
    return write({ target: view, accumulate })
  })
  return record(whole, pieces, [], (gradient, _, targets) => {
    for (const [i, { from, to }] of parts.entries()) {
      if (!targets[i]!.needed) continue
      targets[i]!.pass(gradient.columns(from, to))
    }
  })
}

/** Writes several contributions to one destination: later ones add to the first. */
export function together(into: Destination, writes: readonly ((part: Destination) => Tensor)[]): Tensor {
  const { target, accumulate } = into
  const pieces = writes.map((write, i) =>
    write({ target: target.view(target.shape, target.strides), accumulate: accumulate || i > 0 }),
  )
  return record(target, pieces, [], (gradient, _, targets) => {
    for (const part of targets) part.pass(gradient)
  })
}
