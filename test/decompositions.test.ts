/** Singular values and orthonormal columns against their definitions. */
import { describe, expect, test } from 'vitest'
import { randomStream } from '../lib/common/random.js'
import { native } from '../lib/native/addon.js'

const random = randomStream(1, 'test', 'decompositions')
const normal = (count: number) => Float32Array.from({ length: count }, () => random.normal())

/** Largest difference of the columns' inner products from the identity. */
function errorOfColumns(matrix: Float64Array, rows: number, columns: number): number {
  let largest = 0
  for (let i = 0; i < columns; i++) {
    for (let j = 0; j < columns; j++) {
      let product = 0
      for (let row = 0; row < rows; row++) product += matrix[row * columns + i]! * matrix[row * columns + j]!
      largest = Math.max(largest, Math.abs(product - (i === j ? 1 : 0)))
    }
  }
  return largest
}

describe.each([
  [1, 1],
  [1, 5],
  [7, 3],
  [12, 12],
  [40, 97],
])('of a [%i, %i] matrix', (rows, columns) => {
  const p = Math.min(rows, columns)

  test('u diag(s) vᵀ is the matrix, u and v have orthonormal columns, s falls', async () => {
    const values = normal(rows * columns)
    const { s, u, v } = await native.svd(values, rows, columns, true)
    expect(s.length).toBe(p)
    expect([...s].sort((a, b) => b - a)).toEqual([...s])
    expect(s.at(-1)).toBeGreaterThanOrEqual(0)
    expect(errorOfColumns(u!, rows, p)).toBeLessThan(1e-12)
    expect(errorOfColumns(v!, columns, p)).toBeLessThan(1e-12)
    const product = values.map((_, at) => {
      const [row, column] = [Math.floor(at / columns), at % columns]
      return s.reduce((sum, value, i) => sum + u![row * p + i]! * value * v![column * p + i]!, 0)
    })
    for (const [i, value] of product.entries()) expect(value).toBeCloseTo(values[i]!, 5)
  })

  test('singular values alone are the same', async () => {
    const values = normal(rows * columns)
    const alone = await native.svd(values, rows, columns, false)
    expect([alone.u, alone.v]).toEqual([null, null])
    const { s } = await native.svd(values, rows, columns, true)
    for (const [i, value] of s.entries()) expect(alone.s[i]).toBeCloseTo(value, 12)
  })
})

test('a matrix of low rank has that many singular values that are not 0', async () => {
  const [a, b] = [normal(30 * 3), normal(3 * 20)]
  const values = new Float32Array(30 * 20)
  for (let i = 0; i < 30; i++) {
    for (let j = 0; j < 20; j++) for (let r = 0; r < 3; r++) values[i * 20 + j]! += a[i * 3 + r]! * b[r * 20 + j]!
  }
  const { s } = await native.svd(values, 30, 20, false)
  expect([...s].filter((value) => value > 1e-5 * s[0]!).length).toBe(3)
})

test('orthonormal columns span what the matrix spans', () => {
  const [rows, columns] = [17, 4]
  const values = normal(rows * columns)
  const q = native.orthonormalColumns(values, rows, columns)
  expect(errorOfColumns(q, rows, columns)).toBeLessThan(1e-12)
  // Q Qᵀ leaves the matrix as it is.
  for (let j = 0; j < columns; j++) {
    const inside = Array.from({ length: columns }, (_, i) =>
      values.reduce(
        (sum, value, at) => (at % columns === j ? sum + q[Math.floor(at / columns) * columns + i]! * value : sum),
        0,
      ),
    )
    for (let row = 0; row < rows; row++) {
      const projected = inside.reduce((sum, part, i) => sum + part * q[row * columns + i]!, 0)
      expect(projected).toBeCloseTo(values[row * columns + j]!, 5)
    }
  }
})

test('a matrix without a decomposition is refused', async () => {
  await expect(native.svd(Float32Array.of(1, Number.NaN), 1, 2, true)).rejects.toMatchObject({ code: 'non-finite' })
  expect(() => native.svd(new Float32Array(5), 2, 3, true)).toThrow('received 5')
  expect(() => native.orthonormalColumns(new Float32Array(6), 2, 3)).toThrow('at least as many rows')
})
