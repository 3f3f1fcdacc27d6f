/** Advantages: rewards relative to the other completions of a prompt. */

/** Options of computing advantages from rewards. */
interface AdvantageOptions {
  /** Number of consecutive completions of one prompt. */
  readonly groupSize: number
  /** The standard deviation that divides centred rewards: of their group, of all completions, or none. */
  readonly scaleRewards: 'group' | 'batch' | 'none'
  /** Weight of each reward. */
  readonly weights: readonly number[]
  /** Whether rewards are weighted and added first, or each is normalised in its group before (GDPO, arXiv 2601.05242). */
  readonly aggregation: 'sum_then_normalize' | 'normalize_then_sum'
}

/** Term added to deviations. */
const EPSILON = 1e-4

/** Sums values over all ranks. */
type SumOverRanks = (values: readonly number[]) => Promise<readonly number[]>

/**
 * Returns (reward − mean of the group) / (deviation + 1e-4) of each answer (arXiv 2402.03300, section 4.1.2), with deviations over
 * n − 1.
 * @param rewards of each kind: one for each answer of this rank
 */
export async function advantagesOf(
  rewards: readonly (readonly number[])[],
  options: AdvantageOptions,
  sumOverRanks: SumOverRanks = async (values) => values,
): Promise<number[]> {
  const { groupSize, scaleRewards, weights, aggregation } = options
  if (aggregation === 'normalize_then_sum') {
    const sums = weightedTotals(
      rewards.map((kind) => inGroups(kind, groupSize, normalised)),
      weights,
    )
    const { mean, deviation } = await overBatch(sums, sumOverRanks)
    return sums.map((value) => (value - mean) / (deviation + EPSILON))
  }
  const sums = weightedTotals(rewards, weights)
  const centred = inGroups(sums, groupSize, (group) => group.map((value) => value - meanOf(group)))
  if (scaleRewards === 'none') return centred
  if (scaleRewards === 'group') return inGroups(sums, groupSize, normalised)
  const { deviation } = await overBatch(sums, sumOverRanks)
  return centred.map((value) => value / (deviation + EPSILON))
}

/** Returns the sum of each answer's rewards of all kinds, each times its weight. */
export const weightedTotals = (rewards: readonly (readonly number[])[], weights: readonly number[]): number[] =>
  rewards[0]!.map((_, answer) => rewards.reduce((sum, kind, i) => sum + weights[i]! * kind[answer]!, 0))

const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

/** Returns the standard deviation over n − 1; 0 of one value. */
export function deviationOf(values: readonly number[]): number {
  if (values.length < 2) return 0
  const mean = meanOf(values)
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1))
}

async function overBatch(values: readonly number[], sumOverRanks: SumOverRanks) {
  const [count, total] = await sumOverRanks([values.length, values.reduce((sum, value) => sum + value, 0)])
  const mean = total! / count!
  const [squares] = await sumOverRanks([values.reduce((sum, value) => sum + (value - mean) ** 2, 0)])
  return { mean, deviation: count! < 2 ? 0 : Math.sqrt(squares! / (count! - 1)) }
}

function normalised(values: readonly number[]): number[] {
  const [mean, deviation] = [meanOf(values), deviationOf(values)]
  return values.map((value) => (value - mean) / (deviation + EPSILON))
}

/** Returns the results of `body` on each group, joined. */
export function inGroups(values: readonly number[], size: number, body: (group: number[]) => number[]): number[] {
  const groups = Array.from({ length: values.length / size }, (_, i) => values.slice(i * size, (i + 1) * size))
  return groups.flatMap(body)
}
