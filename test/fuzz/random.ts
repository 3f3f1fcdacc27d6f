import type { RandomStream } from '../../lib/common/random.js'

export type Random = RandomStream

/** One of a list. */
export function pick<T>(random: Random, items: readonly T[]): T {
  return items[random.integer(items.length)]!
}

/** True in this share of cases. */
export const chance = (random: Random, share: number): boolean => random.uniform() < share

/** 1 mostly, sometimes more. */
export const few = (random: Random): number => (chance(random, 0.7) ? 1 : 2 + random.integer(4))

/** Runs one of several functions, chosen by weight. */
export function choose<T>(random: Random, ways: readonly (readonly [weight: number, run: () => T])[]): T {
  let left = random.uniform() * ways.reduce((sum, [weight]) => sum + weight, 0)
  for (const [weight, run] of ways) {
    left -= weight
    if (left < 0) return run()
  }
  return ways.at(-1)![1]()
}
