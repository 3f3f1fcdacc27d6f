/**
 * Equality of arrays of numbers, which vitest compares by the names of their keys: in tests that compare weights, this takes most of
 * the time. A setup file of vitest.
 */
import { expect } from 'vitest'

const isFloats = (value: unknown): value is Float32Array | Float64Array =>
  value instanceof Float32Array || value instanceof Float64Array

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => Buffer.from(buffer, byteOffset, byteLength)

function haveEqualNumbers(a: ArrayLike<unknown>, b: ArrayLike<unknown>): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (typeof a[i] !== 'number' || !Object.is(a[i], b[i])) return false
  return true
}

/** Whether typed arrays or lists of numbers are equal, if that is known; vitest compares all others. */
function areEqual(a: unknown, b: unknown): boolean | undefined {
  if (Array.isArray(a) && Array.isArray(b)) return haveEqualNumbers(a, b) || undefined
  if (!ArrayBuffer.isView(a) || !ArrayBuffer.isView(b) || a.constructor !== b.constructor) return undefined
  // NaN has many bits.
  return bytesOf(a).equals(bytesOf(b)) || (isFloats(a) && isFloats(b) && haveEqualNumbers(a, b))
}

expect.addEqualityTesters([areEqual])
