import { describe, expect, it } from 'vitest'
import { GREEDY, type Sampling, sampleToken } from '../../lib/generate/sampler.js'
import { randomStream } from '../../lib/random.js'

const PROBABILITIES = [0.05, 0.4, 0.1, 0.25, 0.2]
const logits = Float32Array.from(PROBABILITIES, Math.log)

function frequencies(sampling: Partial<Sampling>, draws = 20_000): number[] {
  const random = randomStream(1, 'test')
  const counts = PROBABILITIES.map(() => 0)
  for (let i = 0; i < draws; i++) counts[sampleToken(logits, { ...GREEDY, temperature: 1, ...sampling }, random)]!++
  return counts.map((count) => count / draws)
}

function expectClose(found: readonly number[], expected: readonly number[]): void {
  // Four standard deviations of a frequency near 0.5 in 20,000 draws.
  for (const [i, value] of expected.entries()) expect(Math.abs(found[i]! - value)).toBeLessThan(0.015)
}

describe('sampleToken', () => {
  it('takes the likeliest token at temperature 0, the first of equal ones, and reads no random number', () => {
    const random = randomStream(1, 'test')
    expect(sampleToken(Float32Array.of(1, 3, 3, 2), GREEDY, random)).toBe(1)
    expect(random.uniform()).toBe(randomStream(1, 'test').uniform())
  })

  it('draws tokens by their probabilities', () => {
    expectClose(frequencies({}), PROBABILITIES)
  })

  it('divides the logits by the temperature', () => {
    const squares = PROBABILITIES.map((p) => p ** 2)
    const total = squares.reduce((a, b) => a + b)
    expectClose(
      frequencies({ temperature: 0.5 }),
      squares.map((square) => square / total),
    )
  })

  it('keeps the K likeliest tokens', () => {
    const found = frequencies({ topK: 2 })
    expectClose(found, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0])
    expect([found[0], found[2], found[4]]).toEqual([0, 0, 0])
    expect(sampleToken(Float32Array.of(2, 2, 2), { temperature: 1, topK: 1, topP: 1 }, randomStream(1, 'test'))).toBe(0)
  })

  it('keeps the fewest tokens that have the probability topP together', () => {
    const found = frequencies({ topP: 0.6 })
    expectClose(found, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0])
    expect([found[0], found[2], found[4]]).toEqual([0, 0, 0])
    expect(frequencies({ topP: 0.01 }, 50)).toEqual([0, 1, 0, 0, 0])
  })

  it('counts topP within the K likeliest tokens', () => {
    // 0.4 / 0.65 is above 0.6, so one token is enough.
    expect(frequencies({ topK: 2, topP: 0.6 }, 50)).toEqual([0, 1, 0, 0, 0])
  })

  it('gives the same tokens for the same seed', () => {
    const draw = (seed: number) => {
      const random = randomStream(seed, 'test')
      return Array.from({ length: 20 }, () => sampleToken(logits, { temperature: 1, topK: 0, topP: 0.9 }, random))
    }
    expect(draw(3)).toEqual(draw(3))
    expect(draw(3)).not.toEqual(draw(4))
  })

  it('refuses logits that are not finite, and accepts tokens that are forbidden', () => {
    const random = randomStream(1, 'test')
    expect(() => sampleToken(Float32Array.of(1, Number.NaN), GREEDY, random)).toThrow(/logit of token 1 is NaN/)
    const forbidden = Float32Array.of(Number.NEGATIVE_INFINITY, 0)
    expect(sampleToken(forbidden, { temperature: 2, topK: 0, topP: 1 }, random)).toBe(1)
    expect(() => sampleToken(forbidden.subarray(0, 1), GREEDY, random)).toThrow(/-Infinity/)
  })
})
