import { describe, expect, it } from 'vitest'
import { foreignFailure, isOutOfMemory, isTooLarge, reasonOf } from '../lib/common/foreign-errors.js'

/** Errors that V8 itself throws. */
function thrown(work: () => unknown): unknown {
  try {
    work()
  } catch (error) {
    return error
  }
  throw new Error('it threw nothing')
}

const nested = (): unknown => [nested()]

const tooLarge: [string, () => unknown][] = [
  ['a list', () => new Array(-1)],
  ['a list that grows', () => Array.from({ length: 2 ** 32 })],
  ['a text', () => 'x'.repeat(2 ** 30)],
  ['a typed array', () => new Float64Array(128_000_000_000)],
  ['a buffer', () => new ArrayBuffer(2 ** 53)],
]

describe('an error of V8 or C++', () => {
  it.each(tooLarge)('about the size of %s is one', (_, work) => {
    const error = thrown(work)
    expect(isTooLarge(error)).toBe(true)
    expect(reasonOf(error, 'x')).toBe('it is larger than what can be held at a time')
    expect(foreignFailure(error)).toEqual({ code: 'too-large', message: expect.stringMatching(/^Something would be/) })
  })

  it.each([
    ['C++', new Error('std::bad_alloc')],
    ['the system', Object.assign(new Error('ENOMEM: not enough memory, read'), { code: 'ENOMEM' })],
  ])('about memory, of %s, is one', (_, error) => {
    expect(isOutOfMemory(error)).toBe(true)
    expect(foreignFailure(error)).toEqual({ code: 'out-of-memory', message: expect.stringMatching(/no more memory/) })
  })

  it.each<[string, () => unknown, string]>([
    ['what is not there', () => (undefined as unknown as { x: number }).x, 'TypeError'],
    ['what is no function', () => (1 as unknown as () => void)(), 'TypeError'],
    ['JSON', () => JSON.parse('{"a'), 'SyntaxError'],
    ['a regular expression', () => new RegExp('('.repeat(1)), 'SyntaxError'],
    ['a number', () => BigInt('x'), 'SyntaxError'],
    ['a place', () => new DataView(new ArrayBuffer(1)).getFloat64(0), 'RangeError'],
  ])('about %s is not quoted', (_, work, kind) => {
    const error = thrown(work)
    expect(reasonOf(error, 'it is damaged')).toBe('it is damaged')
    const { code, message } = foreignFailure(error)
    expect(code).toBe('unexpected')
    expect(message).toMatch(
      new RegExp(
        `^This is a fault of node-mora \\(${kind}( at [\\w.<>-]+:\\d+)?\\), please report it; MORA_DEBUG=1 shows more\\.$`,
      ),
    )
  })

  it('about the depth of a value says so', () => {
    expect(reasonOf(thrown(nested), 'x')).toBe('it nests too deep')
  })
})

it('other errors keep their own words', () => {
  const error = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' })
  expect(foreignFailure(error)).toEqual({ code: 'enospc', message: error.message })
  expect(reasonOf(new SyntaxError('Parser Error: expected a bracket.'), 'x')).toBe('Parser Error: expected a bracket')
})

it('a thrown value that is not an Error is a fault too', () => {
  expect(foreignFailure('a text')).toMatchObject({ code: 'unexpected', message: expect.stringContaining('(string)') })
  expect(foreignFailure(undefined)).toMatchObject({ code: 'unexpected' })
})
