/** Draws parts of tests that would take too long in every run. */
import { randomStream } from '../lib/common/random.js'
import { lacksLong, needing } from './needs.js'

/**
 * Draws `count` of the cases for `npm test`, in their order, by MORA_TEST_SEED and the name of their test. `npm run test:long`
 * and `npm run check gpu` run all of them.
 */
export function drawn<Case>(name: string, cases: readonly Case[], count: number): Case[] {
  if (process.env.MORA_TEST_LONG) return [...cases]
  const random = randomStream(Number(process.env.MORA_TEST_SEED ?? 1), 'test', name)
  const order = cases.map((_, i) => ({ i, at: random.uniform() })).sort((a, b) => a.at - b.at)
  const chosen = new Set(order.slice(0, count).map(({ i }) => i))
  return cases.filter((_, i) => chosen.has(i))
}

/** Returns all of the cases, or `count` on the emulator, where each takes ten times as long. */
export const drawnIfEmulated: typeof drawn = (name, cases, count) =>
  process.env.MORA_CUDA === 'emulated' ? drawn(name, cases, count) : [...cases]

/**
 * Draws `count` of the next `of` tests that differ in more than a case: each call gives `describe` and `test` for one of them, which
 * skip where something is missing or it is not drawn.
 */
export function drawnTests(name: string, of: number, count: number): typeof needing {
  const places = new Set(drawn(name, [...Array(of).keys()], count))
  let place = 0
  return (...lacks) => needing(...lacks, places.has(place++) ? null : lacksLong)
}
