/** How operations take their arguments, and which ones a device supports. */
import { describe, expect, test } from 'vitest'
import { native, type Operations } from '../../lib/native/addon.js'
import { testDevice } from './harness.js'

test('an operation with many arguments refuses positional ones', () => {
  const matrix = native.fromArray(testDevice(), 'float32', [2, 2], Float32Array.of(1, 2, 3, 4))
  const matmul = native.matmul as (...operands: unknown[]) => void
  expect(() => matmul(matrix, false, matrix, true, matrix, 1, false)).toThrow(/^matmul: expected a tensor for c/)
  expect(() => matmul(1)).toThrow(/^matmul: expected an object with a field for each argument\./)
  expect(() => native.matmul({ a: matrix, b: matrix, c: matrix, alpha: 'one' as never })).toThrow(/a number for alpha/)
  matrix.dispose()
})

test('an omitted argument has its default', async () => {
  const make = (...values: number[]) => native.fromArray(testDevice(), 'float32', [2, 2], Float32Array.from(values))
  const [a, b, c] = [make(1, 2, 3, 4), make(5, 6, 7, 8), make(9, 9, 9, 9)]
  native.matmul({ a, b, c })
  expect([...(await c.read())]).toEqual([19, 22, 43, 50])
  native.matmul({ a, b, transposeB: true, c, alpha: 2, accumulate: true })
  expect([...(await c.read())]).toEqual([19 + 34, 22 + 46, 43 + 78, 50 + 106])
  for (const tensor of [a, b, c]) tensor.dispose()
})

describe('what a device supports', () => {
  const device = testDevice()
  const supports = (operation: keyof Operations, ...dtypes: Parameters<typeof native.supports>[2]) =>
    native.supports(device, operation, dtypes)

  test('is queried by operation and dtypes', () => {
    expect(supports('matmul', 'bfloat16', 'float32')).toBe(true)
    expect(supports('matmul', 'float32', 'q4_k')).toBe(true)
    expect(supports('embedding', 'mxfp4')).toBe(true)
    expect(supports('rmsNorm', 'q4_k')).toBe(false)
    expect(supports('rope', 'int32')).toBe(false)
    expect(supports('copy', 'int32')).toBe(true)
    expect(supports('matmulInt8', 'bfloat16')).toBe(device.facts().int8Products)
    expect(supports('matmulInt8', 'float16')).toBe(false)
  })

  test('is an error for an unknown operation', () => {
    expect(() => supports('matmil' as keyof Operations)).toThrow('There is no operation matmil.')
    expect(() => supports('matmul', 'float33' as never)).toThrow(/Expected a dtype/)
  })
})
