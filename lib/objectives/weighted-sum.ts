/** A mean as a sum and a weight, which add up over forward passes. */
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
