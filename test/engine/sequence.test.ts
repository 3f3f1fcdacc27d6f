/** Chunks of a long prompt. */
import { expect, test } from 'vitest'
import { PAGE } from '../../lib/engine/pages.js'
import { largestChunk } from '../../lib/engine/sequence.js'

/** Returns where the chunks of a prompt end, if its first tokens are in the prefix cache. */
function endsOf(length: number, cached: number, contextCost: number): number[] {
  const ends: number[] = []
  for (let computed = cached; computed < length; computed = ends.at(-1)!) {
    const most = largestChunk(computed, contextCost)
    ends.push(Math.min(length, computed + most - (computed % most)))
  }
  return ends
}

test.each([0, 1 / 3072, 1 / 500, 1])(
  'after a long context, chunks have fewer tokens: context costs %f',
  (contextCost) => {
    let last = 512
    for (let computed = 0; computed < 20_000; computed += 512) {
      const most = largestChunk(computed, contextCost)
      expect(most === PAGE || most * (1 + computed * contextCost) <= 1024).toBe(true)
      expect(most === 512 || 2 * most * (1 + computed * contextCost) > 1024).toBe(true)
      expect(most).toBeLessThanOrEqual(last)
      last = most
    }
  },
)

test('chunks end at the same places after a cached prefix', () => {
  const contextCost = 1 / 3072
  const ends = endsOf(9000, 0, contextCost)
  for (let cached = 0; cached < 9000; cached += PAGE)
    expect(endsOf(9000, cached, contextCost)).toEqual(ends.filter((end) => end > cached))
})
