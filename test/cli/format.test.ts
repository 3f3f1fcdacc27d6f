import { describe, expect, it } from 'vitest'
import { formatDuration, formatFacts, formatNumber, formatTable } from '../../lib/cli/terminal/format.js'
import { formatBytes } from '../../lib/io/disk-space.js'

describe('figures for people', () => {
  it('shorten sizes', () => {
    expect([0, 999, 1000, 1_234_567, 999_999, 24e9].map(formatBytes)).toEqual([
      '0 B',
      '999 B',
      '1.0 kB',
      '1.2 MB',
      '1.0 MB',
      '24 GB',
    ])
  })

  it('shorten times', () => {
    expect([0.4, 59.6, 130, 3 * 3600 + 5 * 60 + 9].map(formatDuration)).toEqual(['0s', '1m00s', '2m10s', '3h05m'])
  })

  it('show small numbers with their first digits', () => {
    expect([0, 1.23456, 1.5e-7].map(formatNumber)).toEqual(['0.0000', '1.2346', '1.500e-7'])
  })

  it('align columns', () => {
    expect(
      formatFacts([
        ['a', '1'],
        ['long', '2'],
      ]),
    ).toBe('a     1\nlong  2')
    expect(
      formatTable(
        ['name', 'n'],
        [
          ['a', 5],
          ['bcdef', 10],
        ],
      ),
    ).toBe('name    n\na       5\nbcdef  10')
  })
})
