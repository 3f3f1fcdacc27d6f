import type { Batch } from '../batches/batch.js'
import type { BatchLoss } from '../objectives/objective.js'

/**
 * Sums over forward passes, of a step or an evaluation, on one rank or over all. Means are quotients of these sums, so they do
 * not depend on how rows are split into passes or distributed over ranks.
 */
export class PassSums {
  readonly #metricNames: readonly string[]

  /** @param values loss, weight, target tokens, tokens; then sum and weight of each metric */
  constructor(
    metricNames: readonly string[],
    readonly values: Float64Array = new Float64Array(4 + 2 * metricNames.length),
  ) {
    this.#metricNames = metricNames
  }

  /** @param loss the value of the batch's loss */
  add({ weight, metrics }: BatchLoss, loss: number, { targetTokens, ids }: Batch): void {
    const added = [loss, weight, targetTokens, ids.length]
    for (const [i, value] of added.entries()) this.values[i]! += value
    this.addMetrics(metrics)
  }

  /** Adds to some of the metrics. */
  addMetrics(metrics: BatchLoss['metrics'] = {}): void {
    for (const [i, name] of this.#metricNames.entries()) {
      this.values[4 + 2 * i]! += metrics[name]?.sum ?? 0
      this.values[5 + 2 * i]! += metrics[name]?.weight ?? 0
    }
  }

  /** Returns the sums over all ranks, from the first of `values`. */
  over(values: Float64Array): PassSums {
    return new PassSums(this.#metricNames, values.subarray(0, this.values.length))
  }

  /** The divisor of the loss and of its gradients. */
  get weight(): number {
    return this.values[1]!
  }

  get loss(): number {
    return this.weight === 0 ? 0 : this.values[0]! / this.weight
  }

  get targetTokens(): number {
    return this.values[2]!
  }

  get tokens(): number {
    return this.values[3]!
  }

  /** The mean of each metric that has a weight; undefined if the objective has none. */
  get metrics(): Readonly<Record<string, number>> | undefined {
    if (this.#metricNames.length === 0) return undefined
    return Object.fromEntries(
      this.#metricNames.flatMap((name, i) => {
        const [sum, weight] = [this.values[4 + 2 * i]!, this.values[5 + 2 * i]!]
        return weight === 0 ? [] : [[name, sum / weight]]
      }),
    )
  }
}
