import { expect, it } from 'vitest'
import { allPairs } from './pairs.js'

it.each([[[2, 3]], [[4, 4, 4, 4]], [[7, 5, 3, 2, 2, 2, 2]]])('any two values of lists of %j meet', (lengths) => {
  const combinations = allPairs(lengths, 1)
  for (const [i, length] of lengths.entries()) {
    for (let j = 0; j < i; j++) {
      const met = new Set(combinations.map((combination) => `${combination[i]} ${combination[j]}`))
      expect(met.size).toBe(length * lengths[j]!)
    }
  }
  const [most, second] = lengths.toSorted((a, b) => b - a) as [number, number]
  expect(combinations.length).toBeLessThan(2 * most * second)
})
