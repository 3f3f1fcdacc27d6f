import { expect, test } from 'vitest'
import { squareSide } from '../../lib/adapters/methods/mora-operators.js'

test.each([
  // The projections of Llama-2-7B; unrounded, R is 256, 348, 1448 and 1966.
  [4096, 4096, 8, 8, 256],
  [4096, 11008, 8, 8, 352],
  [11008, 4096, 8, 16, 352],
  [4096, 4096, 256, 16, 1456],
  [11008, 4096, 256, 8, 1968],
] as const)('%i → %i of rank %i in multiples of %i has R = %i', (k, d, rank, multiple, side) => {
  expect(squareSide(k, d, rank, 'rotation', multiple)).toBe(side)
})

test('no multiple is further away, nor past the layer', () => {
  for (const multiple of [1, 8, 16]) {
    for (let size = 1; size < 100; size += 3) {
      for (const rank of [1, 8, 64]) {
        const [exact, rounded] = [
          squareSide(size, 40, rank, 'sharing'),
          squareSide(size, 40, rank, 'sharing', multiple),
        ]
        expect(rounded).toBeLessThanOrEqual(Math.max(size, 40))
        if (rounded !== exact) expect(rounded % multiple).toBe(0)
        if (exact + multiple <= Math.max(size, 40)) expect(Math.abs(rounded - exact)).toBeLessThanOrEqual(multiple / 2)
      }
    }
  }
})

test('a side that has no multiple but 0 stays as it is', () => {
  expect(squareSide(4, 6, 1, 'sharing', 8)).toBe(3)
  expect(squareSide(4, 6, 1, 'rotation', 8)).toBe(2)
})
