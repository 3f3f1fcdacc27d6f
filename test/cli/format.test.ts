import { describe, expect, it } from 'vitest'
import { formatDuration, formatFacts, formatNumber, formatTable } from '../../lib/cli/terminal/format.js'
import { formatBytes } from '../../lib/common/bytes.js'

describe('figures for people', () => {
  it('shorten sizes', () => {
    expect([0, 1023, 1024, 1_234_567, 2 ** 20 - 1, 968.4 * 2 ** 20, 24e9, 2 ** 61].map(formatBytes)).toEqual([
      '0 B',
      '1023 B',
      '1 KiB',
      '1.18 MiB',
      '1 MiB',
      '968 MiB',
      '22.4 GiB',
      '2048 PiB',
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
