import { truncateSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseJson, readJson, readJsonObject } from '../../lib/io/json.js'
import { findJsonProblem } from '../../lib/io/json-scan.js'
import { readText } from '../../lib/io/open.js'
import { expectRejection, fileOf, useTemporaryFolder } from './temporary.js'

const folder = useTemporaryFolder()

describe('readJson', () => {
  it('returns the value of a file, with or without a byte order mark', async () => {
    expect(await readJson(fileOf(folder(), 'a.json', '\ufeff{"a": [1, null]}'))).toEqual({ a: [1, null] })
  })

  it('names the file, line and column of an error', async () => {
    const path = fileOf(folder(), 'bad.json', '{\n  "a": 1,\n  "b": tru\n}')
    await expectRejection(
      readJson(path),
      'malformed-json',
      /bad\.json .*line 3, column 8 expected a value but received "t"/,
    )
  })

  it('says that a file is missing, is a folder, or is not UTF-8', async () => {
    await expectRejection(readJson(join(folder(), 'none.json')), 'missing-file', /none\.json/)
    await expectRejection(readJson(folder()), 'not-a-file', /not a regular file/)
    await expectRejection(readJson(fileOf(folder(), 'x', Uint8Array.of(0x22, 0xff, 0x22))), 'malformed-file', /UTF-8/)
  })

  it('refuses files larger than any of their kind', async () => {
    const path = fileOf(folder(), 'config.json', '{}')
    truncateSync(path, 3 * 2 ** 30)
    await expectRejection(readJson(path), 'malformed-file', /it has 3221225472 bytes, and 67108864 are read at most/)
    await expect(readText(path)).rejects.toThrow('it has 3221225472 bytes, and 268435456 are read at most')
  })

  it('refuses a value other than an object where one is needed', async () => {
    await expectRejection(readJsonObject(fileOf(folder(), 'a.json', '[]')), 'malformed-file', /received \[\]/)
  })

  it('refuses values nested too deep for recursive code', () => {
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)
    expect(parseJson(`{"[[": ${nested(500)}}`, 'text')).toHaveProperty('[[')
    expect(() => parseJson(nested(100_000), 'text')).toThrow(/values are nested more than 512 deep/)
  })

  it('refuses repeated keys only when asked', () => {
    const text = '{"a": {"x": 1, "\\u0078": 2}}'
    expect(parseJson(text, 'text')).toEqual({ a: { x: 2 } })
    expect(() => parseJson(text, 'text', { uniqueKeys: true })).toThrow(/column 16 the key "x" is given twice/)
  })
})

describe('findJsonProblem', () => {
  const valid = [
    '0',
    '-0.5e+3',
    '"\\u00e9\\n"',
    '[]',
    '{}',
    ' [1 , {"a":[{}]} ]\n',
    'true',
    '{"":0,"__proto__":1}',
    `"${'x'.repeat(2e6)}"`,
  ]
  const invalid = [
    '',
    '01',
    '1.',
    '+1',
    '.5',
    '"',
    '"\n"',
    '"\\x"',
    '"\\u12g4"',
    '[1,]',
    '[1 2]',
    '{"a"}',
    '{a:1}',
    '{"a":1,}',
    'nul',
    '1 1',
    '[',
    '{"a":',
    '\u00a01',
    'NaN',
    "{'a':1}",
    '[}',
  ]

  it.each(valid)('accepts what JSON.parse accepts: %j', (text) => {
    expect(() => JSON.parse(text)).not.toThrow()
    expect(findJsonProblem(text)).toBeNull()
  })

  it.each(invalid)('refuses what JSON.parse refuses: %j', (text) => {
    expect(() => JSON.parse(text)).toThrow()
    expect(findJsonProblem(text)).not.toBeNull()
  })

  it('refuses absurd nesting instead of overflowing the stack', () => {
    expect(findJsonProblem('['.repeat(100_000))?.problem).toMatch(/nested/)
  })
})
