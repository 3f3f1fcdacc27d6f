/** The same bytes as another dtype. */
import { expect, test } from 'vitest'
import { Tensor } from '../../lib/tensor/tensor.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()

test('bytes from an offset are read and written as floats', async () => {
  using bytes = Tensor.from(new Uint8Array(24), [24], { device, dtype: 'uint8' })
  using floats = bytes.memoryAs('float32', [2, 2], 8)
  floats.assign(Float32Array.of(1, -2, 0.5, 4))
  const expected = new Uint8Array(24)
  expected.set(new Uint8Array(Float32Array.of(1, -2, 0.5, 4).buffer), 8)
  expect(await bytes.bits()).toEqual(expected)
})

test('a view that leaves the memory, or is not aligned to values, is refused', () => {
  using bytes = Tensor.from(new Uint8Array(24), [24], { device, dtype: 'uint8' })
  expect(() => bytes.memoryAs('float32', [5], 8)).toThrow(
    /^as: float32 \[5\] at byte 8 leaves the memory of uint8 \[24\]\.$/,
  )
  expect(() => bytes.memoryAs('q8_0', [32], 0)).toThrow(/leaves the memory/)
  expect(() => bytes.memoryAs('float32', [2], 2)).toThrow(/^as: byte 2 is no place for float32\.$/)
  using columns = bytes.view([2, 6], [12, 1])
  expect(() => columns.memoryAs('float32', [1])).toThrow(/leaves the memory/)
})
