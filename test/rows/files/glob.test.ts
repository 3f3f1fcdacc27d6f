import { describe, expect, test } from 'vitest'
import { matchesGlob } from '../../../lib/rows/files/glob.js'

describe('a pattern of paths', () => {
  const cases: [string, string[], string[]][] = [
    ['data/train-*', ['data/train-00000-of-00001.parquet', 'data/train-'], ['data/test-0', 'data/train-/x', 'train-0']],
    ['**/train.csv', ['train.csv', 'a/train.csv', 'a/b/train.csv'], ['a/xtrain.csv', 'train.csv/x']],
    ['data/**', ['data/a', 'data/b/c.json'], ['database/a', 'other/data/a']],
    ['a?.txt', ['ab.txt', 'a..txt'], ['a.txt', 'a/.txt', 'abc.txt']],
    ['[a-c]-[!0-9].x', ['a-z.x', 'c-_.x'], ['d-z.x', 'a-1.x', 'a-/.x']],
    ['a.b+(c)', ['a.b+(c)'], ['axb+(c)', 'a.bb(c)']],
    ['a[', ['a['], ['a']],
    ['', [''], ['a']],
  ]
  test.each(cases)('%s', (glob, fitting, others) => {
    for (const path of fitting) expect(matchesGlob(path, glob), path).toBe(true)
    for (const path of others) expect(matchesGlob(path, glob), path).toBe(false)
  })

  test('does not backtrack without end on hostile patterns', () => {
    expect(matchesGlob(`${'a'.repeat(2000)}b`, `${'*a'.repeat(500)}c`)).toBe(false)
    expect(matchesGlob('a/'.repeat(1000), `${'**/'.repeat(500)}b`)).toBe(false)
  })
})
