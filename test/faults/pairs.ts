import { randomStream } from '../../lib/common/random.js'

/**
 * Combinations of one value of each list, as indices, in which any two values of two lists meet at least once: far fewer than
 * all combinations. Greedy: each combination begins with a pair that has not met yet, and adds the values that meet most
 * others, a random one among equals.
 */
export function allPairs(lengths: readonly number[], seed: number): number[][] {
  const random = randomStream(seed, 'pairs')
  const open = new Set<string>()
  const nameOf = (i: number, a: number, j: number, b: number) => (i < j ? [i, a, j, b] : [j, b, i, a]).join()
  for (const [i, length] of lengths.entries()) {
    for (const [j, other] of lengths.entries()) {
      for (let a = 0; a < length && i < j; a++) for (let b = 0; b < other; b++) open.add(nameOf(i, a, j, b))
    }
  }
  const combinations: number[][] = []
  for (const pair of open) {
    const [i, a, j, b] = pair.split(',').map(Number) as [number, number, number, number]
    const chosen = new Map([
      [i, a],
      [j, b],
    ])
    for (const [list, length] of lengths.entries()) {
      if (chosen.has(list)) continue
      const met = (value: number) => [...chosen].filter(([k, of]) => open.has(nameOf(list, value, k, of))).length
      const values = random.shuffle(Array.from({ length }, (_, value) => value))
      chosen.set(
        list,
        values.reduce((best, value) => (met(value) > met(best) ? value : best)),
      )
    }
    for (const [k, of] of chosen) for (const [l, other] of chosen) open.delete(nameOf(k, of, l, other))
    combinations.push(lengths.map((_, list) => chosen.get(list)!))
  }
  return combinations
}
