import { describe, expect, it } from 'vitest'
import { philox4x32, randomStream, streamKey } from '../lib/common/random.js'
import { native } from '../lib/native/addon.js'

describe('philox4x32', () => {
  // Known answers of Random123, the reference library of the paper's authors.
  it('returns the known answers of its authors', () => {
    expect(philox4x32([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8])
    const ones = 0xffffffff
    expect(philox4x32([ones, ones, ones, ones], [ones, ones])).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd])
    expect(philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
      0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
    ])
  })
})

describe('randomStream', () => {
  it('is a function of seed, name and counters', () => {
    const words = (...args: Parameters<typeof randomStream>) => {
      const stream = randomStream(...args)
      return Array.from({ length: 9 }, () => stream.uint32())
    }
    expect(words(1, 'shuffle', 0)).toEqual(words(1, 'shuffle', 0))
    expect(words(1, 'shuffle', 0)).toEqual(words(1n, 'shuffle', 0))
    expect(words(1, 'shuffle', 0)).not.toEqual(words(1, 'shuffle', 1))
    expect(words(1, 'shuffle', 0)).not.toEqual(words(2, 'shuffle', 0))
    expect(words(1, 'shuffle', 0)).not.toEqual(words(1, 'init', 0))
  })

  it('reads one block after the other', () => {
    const stream = randomStream(1, 'test', 'a')
    const key = streamKey(1, 'test', 'a')
    const blocks = [0, 1, 2].flatMap((block) => philox4x32([block, 0, 0, 0], key))
    expect(blocks.map(() => stream.uint32())).toEqual(blocks)
  })

  it('returns uniform numbers in [0, 1) with mean 1/2 and variance 1/12', () => {
    const stream = randomStream(7, 'test')
    const values = Array.from({ length: 20000 }, () => stream.uniform())
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
    expect(Math.min(...values)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...values)).toBeLessThan(1)
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.01)
    expect(Math.abs(variance - 1 / 12)).toBeLessThan(0.005)
  })

  it('returns the same after skipped words as after read ones', () => {
    for (const before of [0, 1, 2, 3, 4, 7])
      for (const skipped of [0, 1, 3, 4, 6, 401]) {
        const [read, skips] = [randomStream(1, 'test'), randomStream(1, 'test')]
        for (let i = 0; i < before; i++) expect(skips.uint32()).toBe(read.uint32())
        for (let i = 0; i < skipped; i++) read.uint32()
        expect(skips.skip(skipped)).toBe(before)
        expect(Array.from({ length: 9 }, () => skips.uint32())).toEqual(Array.from({ length: 9 }, () => read.uint32()))
      }
  })

  it('returns the bits that the native core draws, from any word on', () => {
    for (const seed of [0, 1, 42, 2 ** 53 - 1])
      for (const before of [0, 1, 2, 3, 5])
        for (const [count, bound] of [
          [0, 1],
          [1, 0.5],
          [7, Math.sqrt(3)],
          [1001, 1 / Math.sqrt(4097)],
        ] as const) {
          const stream = randomStream(seed, 'test', count)
          for (let i = 0; i < before; i++) stream.uint32()
          const drawn = new Float32Array(count)
          native.drawUniform(drawn, ...stream.key, before, bound)
          const values = Float32Array.from(drawn, () => (2 * stream.uniform() - 1) * bound)
          expect(Buffer.from(drawn.buffer).equals(Buffer.from(values.buffer))).toBe(true)
        }
  })

  it('continues after 2^32 blocks as the native core does', () => {
    const stream = randomStream(3, 'test')
    stream.skip(2 ** 34 - 5)
    const drawn = new Float32Array(5)
    native.drawUniform(drawn, ...stream.key, 2 ** 34 - 5, 1)
    expect([...drawn]).toEqual(Array.from(drawn, () => Math.fround(2 * stream.uniform() - 1)))
  })

  it('returns normal numbers with mean 0, variance 1 and kurtosis 3', () => {
    const stream = randomStream(7, 'test')
    const values = Array.from({ length: 20000 }, () => stream.normal())
    const moment = (power: number) => values.reduce((sum, value) => sum + value ** power, 0) / values.length
    expect(Math.abs(moment(1))).toBeLessThan(0.03)
    expect(Math.abs(moment(2) - 1)).toBeLessThan(0.05)
    expect(Math.abs(moment(4) - 3)).toBeLessThan(0.3)
  })

  it('shuffles to a permutation, each place equally often', () => {
    const counts = Array.from({ length: 4 }, () => [0, 0, 0, 0])
    for (let trial = 0; trial < 4000; trial++) {
      const order = randomStream(3, 'test', trial).shuffle([0, 1, 2, 3])
      expect([...order].sort()).toEqual([0, 1, 2, 3])
      order.forEach((item, place) => {
        counts[place]![item]!++
      })
    }
    for (const count of counts.flat()) expect(Math.abs(count - 1000)).toBeLessThan(150)
  })
})
