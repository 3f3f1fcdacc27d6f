import { expect, test } from 'vitest'
import { quantiseQ8 } from '../../lib/models/checkpoint/quantise-q8.js'
import { randomStream } from '../../lib/random.js'
import { float16BitsToFloat32 } from '../../lib/tensor/half.js'

function dequantise(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer)
  return Array.from({ length: (bytes.length / 34) * 32 }, (_, i) => {
    const block = Math.floor(i / 32) * 34
    return float16BitsToFloat32(view.getUint16(block, true)) * view.getInt8(block + 2 + (i % 32))
  })
}

test('Q8_0 keeps each value to half a step of its block, and the scale in float16', () => {
  const random = randomStream(1, 'q8')
  const values = Float32Array.from(
    { length: 32 * 50 },
    (_, i) => random.normal() * 10 ** ((Math.floor(i / 32) % 9) - 4),
  )
  const again = dequantise(quantiseQ8(values))
  for (let block = 0; block < 50; block++) {
    const own = values.subarray(32 * block, 32 * block + 32)
    const largest = own.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
    for (const [i, value] of own.entries()) {
      // Half a step; and the scale's rounding to 11 bits (or, below 2^-14, to 2^-25), times at most 127 steps.
      const tolerance = largest / 254 + Math.max(largest * 2 ** -11, 127 * 2 ** -25)
      expect(Math.abs(again[32 * block + i]! - value)).toBeLessThanOrEqual(tolerance * 1.001)
    }
  }
})

test('Q8_0 of multiples of a power of two is exact, halves go away from zero, and zeros stay zero', () => {
  const whole = Float32Array.from({ length: 32 }, (_, i) => (i - 15) / 16)
  whole[0] = 127 / 16
  expect(dequantise(quantiseQ8(whole))).toEqual([...whole])
  const halves = new Float32Array(32)
  halves.set([127, 2.5, -2.5, 0.5, -0.5, 0.49])
  expect(dequantise(quantiseQ8(halves)).slice(0, 7)).toEqual([127, 3, -3, 1, -1, 0, 0])
  expect(quantiseQ8(new Float32Array(64))).toEqual(new Uint8Array(68))
})
