import { describe, expect, it } from 'vitest'
import { parseYaml } from '../../lib/io/yaml.js'

const seconds = 1000

describe('parseYaml', () => {
  it('reads mappings, lists, aliases and merged mappings', () => {
    expect(parseYaml('a: &x {b: 1, c: [2, yes]}\nd: *x\n')).toEqual({
      a: { b: 1, c: [2, 'yes'] },
      d: { b: 1, c: [2, 'yes'] },
    })
    expect(parseYaml('')).toBe(null)
  })

  it.each([
    ['what is no YAML', 'a: [1, 2', /^Flow sequence in block collection/],
    ['an alias of what it is in', 'a: &x [1, *x]', /^an alias in it stands for what the alias is in$/],
    [
      'aliases of aliases',
      `a: &a [1,1,1,1,1,1,1,1,1]\n${[...'bcdefghij'].map((name, i) => `${name}: &${name} [${Array(9).fill(`*${'abcdefghi'[i]}`)}]`).join('\n')}`,
      /alias/,
    ],
    ['two keys alike', 'a: 1\nb: {}\na: 2', /^keys must be unique at line 3, column 1$/],
    ['two keys alike further inside', '- [{a: 1, b: 1, a: 1}]', /^keys must be unique at line 1, column 17$/],
    ['a mistake', 'a: 1\nb: "x\n', /^Missing closing "quote at line 3, column 1$/],
    ['two documents', 'a: 1\n---\nb: 1', /^there are several documents at line 2, column 1$/],
    ['open lists', '['.repeat(50_000), /^it nests too deep$/],
    ['lists in lists', '- '.repeat(50_000), /^it nests too deep$/],
    ['mappings in mappings', '? '.repeat(50_000), /^it nests too deep$/],
    ['closed lists', `${'['.repeat(50_000)}${']'.repeat(50_000)}`, /^it nests too deep$/],
    [
      'many aliases',
      Array.from({ length: 101 }, (_, i) => `- &a${i} 1\n- *a${i}\n`).join(''),
      /^it has more than 100 aliases$/,
    ],
  ])('refuses %s in one line', (_, text, message) => {
    expect(() => parseYaml(text)).toThrow(message)
    expect(() => parseYaml(text)).toThrow(/^[^\n]*[^.:\n]$/)
  })

  it('reads or refuses any number of keys in seconds', { timeout: 60 * seconds }, () => {
    const keys = (count: number) => Array.from({ length: count }, (_, i) => `key${i}: 1\n`).join('')
    expect(Object.keys(parseYaml(keys(11_000)) as object)).toHaveLength(11_000)
    expect(() => parseYaml(keys(40_000))).toThrow(/^it has \d+ characters, and 131072 are read at most$/)
  })
})
