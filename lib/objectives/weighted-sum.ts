import type { Tensor } from '../tensor/tensor.js'

/** A mean as a sum and a weight; both add up over forward passes. */
export interface WeightedSum {
  /** The sum of the values, each times its weight. */
  readonly sum: number
  /** The sum of the weights. */
  readonly weight: number
}

/** Returns the mean of some values as a sum. */
export function meanSum(values: Iterable<number>): WeightedSum {
  const all = [...values]
  return { sum: all.reduce((sum, value) => sum + value, 0), weight: all.length }
}

/** Returns the share of rows of scores [N, K] whose largest is the target's. */
export async function accuracyOf(scores: Tensor, targets: Int32Array): Promise<WeightedSum> {
  const values = Array.from(await scores.data(), Number)
  const size = values.length / targets.length
  const isRight = (target: number, row: number) => {
    const own = values.slice(row * size, (row + 1) * size)
    return Number(own.indexOf(Math.max(...own)) === target)
  }
  return meanSum(Array.from(targets, isRight))
}
