/** Rows of float32 matrices [n, k]: scaled, multiplied with each other and measured. Nothing here is on the tape. */
import { native } from '../../native.js'
import { scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'

/** diag(rows) matrix diag(columns) for factors [n] of rows and [k] of columns; null are ones. */
export function scaled(matrix: Tensor, rows: Tensor | null, columns: Tensor | null = null): Tensor {
  return scope(() => {
    const [n, k] = matrix.shape as [number, number]
    const result = Tensor.empty(matrix.shape, matrix)
    const [ofRows, ofColumns] = [rows ?? filled(n, 1, matrix), columns ?? filled(k, 1, matrix)]
    native.rmsNormApply(matrix.native, ofColumns.native, 0, ofRows.native, result.native)
    return result
  })
}

/** The products of each row of one matrix with that of another, [n]. */
export function rowProducts(one: Tensor, other: Tensor): Tensor {
  return scope(() => {
    const [n, k] = one.shape as [number, number]
    const products = Tensor.empty(one.shape, one)
    native.multiply(one.native, other.native, products.native, 1, false)
    const sums = Tensor.empty([n], one)
    native.matmul({ a: products.native, b: filled(k, 1, one).view([k, 1]).native, c: sums.view([n, 1]).native })
    return sums
  })
}

/** ‖·‖ [n]: ‖·‖² / ‖·‖, so that a row of zeros has the norm 0. */
export function rowNorms(matrix: Tensor): Tensor {
  return scope(() => {
    const [n, k] = matrix.shape as [number, number]
    const inverse = Tensor.empty([n], matrix)
    native.rmsNorm({
      x: matrix.native,
      weight: filled(k, 1, matrix).native,
      weightOffset: 0,
      epsilon: 1e-30,
      rstd: inverse.native,
    })
    return product([rowProducts(matrix, matrix), inverse], 1 / Math.sqrt(k))
  })
}

/** `scale` times the product of vectors [n], element by element. */
export function product([first, ...others]: readonly Tensor[], scale: number): Tensor {
  const result = Tensor.empty(first!.shape, first!)
  native.copy(first!.native, result.native, scale)
  for (const other of others) native.multiply(asRow(other), asRow(result), asRow(result), 1, false)
  return result
}

export interface NormLimit {
  /** [n] most / max(‖·‖, most): what rows are multiplied by to have at most that norm. */
  readonly factors: Tensor
  /** [n] ‖·‖ / most − 1: positive where the norm is more. */
  readonly excess: Tensor
}

export function limitNorms(matrix: Tensor, most: number): NormLimit {
  const n = matrix.shape[0]!
  const [excess, ratios] = [filled(n, -1, matrix), filled(n, 1, matrix)]
  const [over, factors] = [0, 1].map(() => Tensor.empty([n], matrix)) as [Tensor, Tensor]
  native.add(rowNorms(matrix).native, excess.native, 1 / most)
  native.activation('relu', asRow(excess), null, asRow(over))
  native.add(over.native, ratios.native, 1)
  native.rmsNorm({
    x: ratios.view([n, 1]).native,
    weight: filled(1, 1, matrix).native,
    weightOffset: 0,
    epsilon: 0,
    rstd: factors.native,
  })
  return { factors, excess }
}

/** values [n], and 0 where `excess` [n] is not positive. */
export function whereExceeded(values: Tensor, excess: Tensor): Tensor {
  const result = Tensor.empty(values.shape, values)
  native.activationBackward({ f: 'relu', dY: asRow(values), gate: asRow(excess), dGate: asRow(result) })
  return result
}

function filled(count: number, value: number, { device }: Tensor): Tensor {
  const result = Tensor.empty([count], { device })
  native.fill(result.native, value)
  return result
}

const asRow = (vector: Tensor) => vector.view([1, vector.elements]).native
