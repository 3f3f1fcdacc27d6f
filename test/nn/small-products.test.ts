/** Small float32 products on the CPU: each result is its exact sum, rounded once. */
import { expect, test } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { native } from '../../lib/native/addon.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
const random = randomStream(1, 'test', 'small-products')

test.each([
  { batch: 1, m: 8, n: 1, k: 1 },
  { batch: 1, m: 9, n: 7, k: 33 },
  { batch: 1, m: 23, n: 17, k: 172 },
  { batch: 1, m: 181, n: 8, k: 181 },
  { batch: 1, m: 12, n: 384, k: 64 },
  { batch: 3, m: 10, n: 19, k: 40 },
])('$batch × [$m, $k] · [$k, $n]', async ({ batch, m, n, k }) => {
  for (const [transposeA, transposeB] of [
    [false, false],
    [false, true],
    [true, false],
    [true, true],
  ] as const) {
    const matrices = (rows: number, columns: number) => {
      const values = Float32Array.from({ length: batch * rows * columns }, () => random.normal())
      return { values, tensor: Tensor.from(values, [batch, rows, columns], { device }) }
    }
    const a = transposeA ? matrices(k, m) : matrices(m, k)
    const b = transposeB ? matrices(n, k) : matrices(k, n)
    const c = matrices(m, n)
    const wanted = c.values.map((before, at) => {
      const [i, j, first] = [Math.floor(at / n) % m, at % n, Math.floor(at / (m * n)) * k]
      let sum = 0
      for (let t = 0; t < k; t++) {
        const left = a.values[transposeA ? (first + t) * m + i : (first / k) * m * k + i * k + t]!
        const right = b.values[transposeB ? (first / k) * n * k + j * k + t : (first + t) * n + j]!
        sum += left * right
      }
      return 0.5 * sum + before
    })
    native.matmul({
      a: a.tensor.native,
      transposeA,
      b: b.tensor.native,
      transposeB,
      c: c.tensor.native,
      alpha: 0.5,
      accumulate: true,
    })
    expect(await c.tensor.data(), `transposed: ${transposeA}, ${transposeB}`).toEqual(wanted)
    for (const { tensor } of [a, b, c]) tensor.dispose()
  }
})
