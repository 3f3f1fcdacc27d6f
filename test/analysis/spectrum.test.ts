import { expect, test } from 'vitest'
import { effectiveRank, spectrumOf } from '../../lib/analysis/index.js'
import { randomStream } from '../../lib/common/random.js'

/** u diag(s) vᵀ with the columns of two Hadamard matrices, which are orthogonal. */
function withSingularValues(values: readonly number[], rows: number, columns: number): Float32Array {
  const hadamard = (i: number, j: number) => (popCount(i & j) % 2 === 0 ? 1 : -1)
  const popCount = (bits: number): number => (bits === 0 ? 0 : (bits & 1) + popCount(bits >> 1))
  return Float32Array.from({ length: rows * columns }, (_, at) => {
    const [row, column] = [Math.floor(at / columns), at % columns]
    const sum = values.reduce((total, value, k) => total + value * hadamard(row, k) * hadamard(column, k), 0)
    return sum / Math.sqrt(rows * columns)
  })
}

test.each([
  [8, 32],
  [32, 8],
  [16, 16],
])('the singular values that a [%i, %i] matrix was made of are found', async (rows, columns) => {
  const values = [5, 2, 0.5, 0.125, 0.0625]
  const spectrum = await spectrumOf(withSingularValues(values, rows, columns), rows, columns, 0.1)
  expect(spectrum.singularValues).toHaveLength(Math.min(rows, columns))
  for (const [i, value] of spectrum.singularValues.entries()) expect(value).toBeCloseTo(values[i] ?? 0, 6)
  expect(spectrum.aboveThreshold).toBe(4)
  expect(spectrum.spectralNorm).toBeCloseTo(5, 6)
  expect(spectrum.frobeniusNorm).toBeCloseTo(Math.hypot(...values), 6)
})

test('the effective rank is the number of equal singular values, and lies between 1 and it for others', () => {
  expect(effectiveRank(Float64Array.of(3, 3, 3, 0, 0))).toBeCloseTo(3, 12)
  expect(effectiveRank(Float64Array.of(3, 0))).toBe(1)
  expect(effectiveRank(Float64Array.of(0, 0))).toBe(0)
  const uneven = effectiveRank(Float64Array.of(3, 1, 1))
  expect(uneven).toBeGreaterThan(1)
  expect(uneven).toBeLessThan(3)
})

test('the Frobenius norm is that of the matrix', async () => {
  const random = randomStream(1, 'spectrum')
  const values = Float32Array.from({ length: 13 * 29 }, () => random.normal())
  const { frobeniusNorm } = await spectrumOf(values, 13, 29, 0)
  expect(frobeniusNorm).toBeCloseTo(Math.sqrt(values.reduce((sum, value) => sum + value * value, 0)), 5)
})

test('a matrix that is not finite is refused', async () => {
  await expect(spectrumOf(Float32Array.of(1, Number.NaN, 0, 1), 2, 2, 0)).rejects.toThrow(/not finite/)
})
