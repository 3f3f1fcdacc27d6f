import { float32ToFloat16Bits } from '../../tensor/half.js'

const BLOCK = 32

/**
 * Values in ggml's Q8_0: of each 32, a float16 scale d = max |x| / 127 and 32 bytes of x / d to the nearest whole number,
 * halves away from zero.
 * @param values as many as fill whole blocks
 * @returns 34 bytes a block
 */
export function quantiseQ8(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array((values.length / BLOCK) * (BLOCK + 2))
  const view = new DataView(bytes.buffer)
  for (let start = 0, at = 0; start < values.length; start += BLOCK, at += BLOCK + 2) {
    let largest = 0
    for (let i = start; i < start + BLOCK; i++) largest = Math.max(largest, Math.abs(values[i]!))
    const scale = Math.fround(largest / 127)
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale)
    view.setUint16(at, float32ToFloat16Bits(scale), true)
    for (let i = 0; i < BLOCK; i++) {
      const units = Math.fround(values[start + i]! * inverse)
      view.setInt8(at + 2 + i, Math.sign(units) * Math.round(Math.abs(units)))
    }
  }
  return bytes
}
