/** How many rows of logits exist at one time. */
import { describe, expect, it } from 'vitest'
import { logitsBytes } from '../../lib/tensor/operations/loss.js'

const GiB = 2 ** 30
const rows = (kind: string, totalMemory: number, vocabulary: number) =>
  Math.floor(logitsBytes({ kind, facts: () => ({ totalMemory }) }, vocabulary) / (4 * vocabulary))

describe('a chunk of logits', () => {
  it.each([32_000, 128_256, 151_936, 262_144])(
    'has 1024 rows or more on a GPU of 16 GiB, of %i tokens',
    (vocabulary) => {
      // What a card of 16 GiB reports.
      expect(rows('cuda', 15.6 * GiB, vocabulary)).toBeGreaterThanOrEqual(1024)
    },
  )

  it('takes a twelfth of a smaller GPU at most, and never less than on a CPU', () => {
    expect(logitsBytes({ kind: 'cuda', facts: () => ({ totalMemory: 6 * GiB }) }, 262_144)).toBe(GiB / 2)
    expect(rows('cuda', GiB / 4, 32_000)).toBe(rows('cpu', 64 * GiB, 32_000))
  })

  it('stays in the caches of a CPU', () => {
    expect(rows('cpu', 1024 * GiB, 49_152)).toBe(256)
  })
})
