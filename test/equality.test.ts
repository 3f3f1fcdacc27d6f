/** Arrays of numbers are equal in tests (equality.ts) exactly if vitest says so of the same numbers in objects. */
import { describe, expect, test } from 'vitest'

const made: Record<string, (...numbers: number[]) => ArrayLike<number>> = {
  Float32Array: (...numbers) => Float32Array.from(numbers),
  Float64Array: (...numbers) => Float64Array.from(numbers),
  Int32Array: (...numbers) => Int32Array.from(numbers),
  Uint8Array: (...numbers) => Uint8Array.from(numbers),
  Buffer: (...numbers) => Buffer.from(numbers),
  Array: (...numbers) => numbers,
}

describe.each(Object.entries(made))('%s', (name, of) => {
  test('is equal to its copy, and to nothing else', () => {
    expect(of(1, 2, 3)).toEqual(of(1, 2, 3))
    expect(of(1, 2, 3)).toStrictEqual(of(1, 2, 3))
    expect(of()).toEqual(of())
    expect(of(1, 2, 3)).not.toEqual(of(1, 2, 4))
    expect(of(1, 2, 3)).not.toEqual(of(1, 2))
    expect(of(1, 2)).not.toEqual(of(1, 2, 3))
    expect({ deep: [of(1, 2, 3)] }).toEqual({ deep: [of(1, 2, 3)] })
    expect({ deep: [of(1, 2, 3)] }).not.toEqual({ deep: [of(0, 2, 3)] })
    for (const [other, others] of Object.entries(made)) if (other !== name) expect(of(1)).not.toStrictEqual(others(1))
  })
})

test('NaN is equal to NaN of other bits, and 0 not to -0', () => {
  const [nan, other] = [0x7fc00000, 0x7fc00001].map((bits) => new Float32Array(Uint32Array.of(bits, 0).buffer))
  expect(nan).toEqual(other)
  expect([Number.NaN]).toEqual([Number.NaN])
  expect([0]).not.toEqual([-0])
  expect(Float32Array.of(0)).not.toEqual(Float32Array.of(-0))
})

test('a view is equal to the same numbers elsewhere', () => {
  expect(Float32Array.of(9, 1, 2).subarray(1)).toEqual(Float32Array.of(1, 2))
  expect(Float32Array.of(9, 1, 2).subarray(1)).not.toEqual(Float32Array.of(9, 1))
})

test('lists of others than numbers, with holes or with matchers are those of vitest', () => {
  expect([1, 'a', { b: [2] }]).toEqual([1, 'a', { b: [2] }])
  expect([1, '2']).not.toEqual([1, 2])
  expect(new Array(2)).not.toEqual([1, 2])
  expect([1, 2]).not.toEqual(new Array(2))
  expect([1, 2]).toEqual([expect.any(Number), 2])
})
