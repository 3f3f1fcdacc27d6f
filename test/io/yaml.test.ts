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
    ['two keys alike', 'a: 1\na: 2', /unique/],
  ])('refuses %s in one line', (_, text, message) => {
    expect(() => parseYaml(text)).toThrow(message)
    expect(() => parseYaml(text)).toThrow(/^[^\n]*[^.:\n]$/)
  })

  it('reads or refuses any number of keys in seconds', { timeout: 60 * seconds }, () => {
    const keys = (count: number) => Array.from({ length: count }, (_, i) => `key${i}: 1\n`).join('')
    expect(Object.keys(parseYaml(keys(10_000)) as object)).toHaveLength(10_000)
    expect(() => parseYaml(keys(40_000))).toThrow(/^it has \d+ characters, and 131072 are read at most$/)
  })
})
