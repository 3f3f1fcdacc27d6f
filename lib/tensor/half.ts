/** Conversions between float32 and the bits of bfloat16 and float16, to nearest even; NaN stays NaN. */
import type { FloatDType } from '../native/addon.js'

const float = new Float32Array(1)
const bits = new Uint32Array(float.buffer)

export function bfloat16BitsToFloat32(value: number): number {
  bits[0] = value << 16
  return float[0]!
}

export function float32ToBfloat16Bits(value: number): number {
  float[0] = value
  const word = bits[0]!
  if ((word & 0x7fffffff) > 0x7f800000) return (word >>> 16) | 0x40
  return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16
}

export function float16BitsToFloat32(value: number): number {
  const sign = value & 0x8000 ? -1 : 1
  const exponent = (value >>> 10) & 31
  const fraction = value & 1023
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25))
}

function float32ToFloat16Bits(value: number): number {
  float[0] = value
  const sign = (bits[0]! >>> 16) & 0x8000
  const magnitude = Math.abs(float[0]!)
  if (Number.isNaN(magnitude)) return sign | 0x7e00
  if (magnitude >= 65520) return sign | 0x7c00
  // Rounding to the spacing of the value's binade; Math.round breaks ties upwards, so even ones are mended.
  const exponent = Math.max(Math.floor(Math.log2(magnitude || 2 ** -24)), -14)
  const scaled = magnitude / 2 ** (exponent - 10)
  let units = Math.round(scaled)
  if (Math.abs(scaled - Math.trunc(scaled)) === 0.5 && units % 2 === 1) units--
  return sign | (units + ((exponent + 14) << 10))
}

type HalfDType = 'bfloat16' | 'float16'

/** Converts bits to values. Loops, because `from` of a typed array makes a list first, which takes over ten times as long. */
export function float32FromHalf(halves: Uint16Array, dtype: HalfDType): Float32Array {
  const convert = dtype === 'bfloat16' ? bfloat16BitsToFloat32 : float16BitsToFloat32
  const values = new Float32Array(halves.length)
  for (let i = 0; i < values.length; i++) values[i] = convert(halves[i]!)
  return values
}

/** Converts values to bits. */
export function halfFromFloat32(values: ArrayLike<number>, dtype: HalfDType): Uint16Array {
  const convert = dtype === 'bfloat16' ? float32ToBfloat16Bits : float32ToFloat16Bits
  const halves = new Uint16Array(values.length)
  for (let i = 0; i < halves.length; i++) halves[i] = convert(values[i]!)
  return halves
}

/** Rounds a number to a dtype. */
export function roundedTo(dtype: FloatDType, value: number): number {
  if (dtype === 'bfloat16') return bfloat16BitsToFloat32(float32ToBfloat16Bits(value))
  return dtype === 'float16' ? float16BitsToFloat32(float32ToFloat16Bits(value)) : Math.fround(value)
}
