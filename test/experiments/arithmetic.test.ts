import { expect, test } from 'vitest'
import { calculate } from '../../experiments/objectives/arithmetic.js'

test.each([
  ['347 * 28', 9716],
  ['1 + 2 * 3 - 4', 3],
  ['(1 + 2) * (3 - -4)', 21],
  ['10 / 4 / 5', 0.5],
  ['2.5*2', 5],
])('%s is %d', (expression, value) => {
  expect(calculate(expression)).toBe(value)
})

test.each(['', '1 +', '(1', '1 2', 'x', '1 ** 2', 'process.exit()'])('%o is refused', (expression) => {
  expect(() => calculate(expression)).toThrow(/^(expected|a bracket)/)
})
