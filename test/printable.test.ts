import { describe, expect, it } from 'vitest'
import { InputError, quoted } from '../lib/common/errors.js'
import { asMessage, printable, shortened } from '../lib/common/printable.js'

describe('printable text', () => {
  it('escapes characters that control a terminal or reverse a line, and keeps the rest', () => {
    expect(printable('a\u001b[31m\u0007\r\u007f\u009b2J')).toBe('a\\u001b[31m\\u0007\\u000d\\u007f\\u009b2J')
    expect(printable('\u202ea\u2066b\u2028c')).toBe('\\u202ea\\u2066b\\u2028c')
    expect(printable('\ud800x\udc00')).toBe('\\ud800x\\udc00')
    const plain = 'tab\tline\nÄ 中 😀 👩‍💻 שלום مرحبا'
    expect(printable(plain)).toBe(plain)
  })

  it('means the same in JSON', () => {
    const value = { 'a\u009b': 'b\u202e\u007f\u2028' }
    const json = printable(JSON.stringify(value))
    expect(json).toMatch(/^[\x20-\x7e]+$/)
    expect(JSON.parse(json)).toEqual(value)
  })
})

describe('shortened text', () => {
  it.each([
    ['ascii', 'x'.repeat(5000)],
    ['two bytes a character', 'ä'.repeat(5000)],
    ['three', '中'.repeat(5000)],
    ['four', '😀'.repeat(5000)],
    ['one more before them', `a${'😀'.repeat(5000)}`],
    ['megabytes', `begin ${'😀中äx'.repeat(400_000)} end`],
  ])('of %s loses its middle only, and splits no character', (_, text) => {
    for (const bytes of [20, 21, 22, 23, 2000]) {
      const short = shortened(text, bytes)
      const [start, end] = short.split('…')
      expect(Buffer.byteLength(short)).toBeLessThanOrEqual(bytes)
      expect(Buffer.byteLength(short)).toBeGreaterThan(bytes - 10)
      expect(text.startsWith(start!) && text.endsWith(end!)).toBe(true)
      expect(short).not.toMatch(/\p{Cs}/u)
    }
  })

  it('is unchanged if it fits', () => {
    expect(shortened('ä'.repeat(10), 20)).toBe('ä'.repeat(10))
    expect(shortened('', 20)).toBe('')
  })
})

describe('a message', () => {
  it('has one line of at most 2 kB, whatever it contains', () => {
    const hostile = '\u001b[2J\u202e\n\r\u009b😀'.repeat(100_000)
    const { message } = new InputError('malformed-file', `a.json is malformed: ${hostile} is no name.`)
    expect(message).toMatch(/^a\.json is malformed: \\u001b\[2J.*….* is no name\.$/u)
    expect(message).not.toMatch(/[\p{Cc}\u202e]/u)
    expect(Buffer.byteLength(message)).toBeLessThanOrEqual(2000)
    expect(message).not.toMatch(/\p{Cs}/u)
  })

  it('is fast for text that is mostly space', () => {
    expect(asMessage(`${' '.repeat(1_000_000)}x`)).toBe('… x'.replace(' ', ' '.repeat(997)))
  })

  it('quotes a part of a text', () => {
    expect(quoted('x'.repeat(1_000_000))).toMatch(/^"x{98}…x{98}"$/)
    expect(quoted(['😀'.repeat(100)])).toMatch(/^\["(😀)+\.\.\.$/u)
    expect(quoted({ seed: 1n })).toBe('an object')
  })
})
