/** MoRA of one layer: its forward and backward pass are those of W + ΔW, and ΔW is linear in M. */
import { describe, expect, test } from 'vitest'
import { operators } from '../lib/adapters/methods/mora.js'
import { type LayerValues, moraLayer } from '../lib/adapters/single-layer.js'
import { randomStream } from '../lib/common/random.js'
import type { Tensor } from '../lib/tensor/tensor.js'

const [rows, inFeatures, outFeatures, squareSide] = [5, 23, 17, 6]
const random = randomStream(3, 'one layer')
const values = (length: number) => Float32Array.from({ length }, () => 2 * random.uniform() - 1)
const [x, W, M, dY] = [
  values(rows * inFeatures),
  values(outFeatures * inFeatures),
  values(squareSide ** 2),
  values(rows * outFeatures),
]

async function read(tensor: Tensor): Promise<Float32Array> {
  const result = (await tensor.data()) as Float32Array
  tensor.dispose()
  return result
}

/** a [n, m] b [m, p] in float64. */
function product(a: Float32Array, b: Float64Array | Float32Array, m: number): Float64Array {
  const p = b.length / m
  return Float64Array.from({ length: (a.length / m) * p }, (_, at) => {
    const [row, column] = [Math.floor(at / p), at % p]
    let sum = 0
    for (let i = 0; i < m; i++) sum += a[row * m + i]! * b[i * p + column]!
    return sum
  })
}

const transposed = (a: Float64Array, rowCount: number): Float64Array => {
  const columns = a.length / rowCount
  return a.map((_, at) => a[(at % rowCount) * columns + Math.floor(at / rowCount)]!)
}

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>): void {
  expect(actual.length).toBe(expected.length)
  for (let i = 0; i < actual.length; i++) expect(Math.abs(actual[i]! - expected[i]!)).toBeLessThan(2e-5)
}

const cases = [
  ...operators.map((operator) => ({ operator, foldOutput: false })),
  { operator: 'rotation' as const, foldOutput: true },
]

describe.each(cases)('$operator, foldOutput $foldOutput', ({ operator, foldOutput }) => {
  const layer = moraLayer({ inFeatures, outFeatures, squareSide, operator, foldOutput, device: 'cpu' })
  const changed = async (base: Float32Array | null) => {
    const delta = await read(layer.delta(M))
    return Float64Array.from(delta, (value, i) => value + (base?.[i] ?? 0))
  }

  test.each([
    ['beside a weight', W],
    ['alone', null],
  ])('forward %s', async (_, base) => {
    const y = await read(layer.forward(x, base as LayerValues | null, M))
    expectClose(y, product(x, transposed(await changed(base), outFeatures), inFeatures))
  })

  test('backward', async () => {
    const { dX, dM } = layer.backward(x, W, M, dY)
    expectClose(await read(dX), product(dY, await changed(W), outFeatures))
    const gradient = await read(dM)
    // y is linear in M, so each gradient is the part of dY · y that one element makes.
    for (let i = 0; i < squareSide ** 2; i += 5) {
      const one = new Float32Array(squareSide ** 2)
      one[i] = 1
      const y = await read(layer.forward(x, null, one))
      const expected = y.reduce((sum, value, at) => sum + value * dY[at]!, 0)
      expect(Math.abs(gradient[i]! - expected)).toBeLessThan(2e-5)
    }
  })
})
