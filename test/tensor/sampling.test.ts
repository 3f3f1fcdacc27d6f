import { afterAll, describe, expect, it } from 'vitest'
import { RunError } from '../../lib/common/errors.js'
import { randomStream } from '../../lib/common/random.js'
import { chooseTokens } from '../../lib/tensor/operations/choose-tokens.js'
import {
  cutByDeviation,
  GREEDY,
  type Sampling,
  sampleTokens,
  type TokenChoice,
} from '../../lib/tensor/operations/sampling.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

const PROBABILITIES = [0.05, 0.4, 0.1, 0.25, 0.2]
const DRAWS = 4000

/** Tokens drawn from equal rows. */
async function draw(sampling: Sampling, seed: number, draws: number): Promise<number[]> {
  const row = PROBABILITIES.map(Math.log)
  const values = Float32Array.from({ length: draws * row.length }, (_, i) => row[i % row.length]!)
  using logits = Tensor.from(values, [draws, row.length], { device })
  const random = randomStream(seed, 'test')
  using ids = sampleTokens(
    logits,
    Array.from({ length: draws }, () => ({ ...sampling, uniform: random.uniform() })),
  )
  return Array.from(await ids.data(), Number)
}

async function frequencies(sampling: Partial<Sampling>, draws = DRAWS): Promise<number[]> {
  const counts = PROBABILITIES.map(() => 0)
  for (const id of await draw({ ...GREEDY, temperature: 1, ...sampling }, 1, draws)) counts[id]!++
  return counts.map((count) => count / draws)
}

function expectClose(found: readonly number[], expected: readonly number[]): void {
  // Four standard deviations of a frequency near 0.5 in 4000 draws.
  for (const [i, value] of expected.entries()) expect(Math.abs(found[i]! - value)).toBeLessThan(0.032)
}

async function choosing(logits: Tensor, choice: TokenChoice): Promise<number> {
  const [token] = await chooseTokens(logits, [choice])
  if (token instanceof RunError) throw token
  return token!.id
}

async function choose(values: number[], sampling: Sampling): Promise<number> {
  using logits = Tensor.from(Float32Array.from(values), [1, values.length], { device })
  return await choosing(logits, { ...sampling, uniform: 0.5 })
}

/** Arithmetic in float64: logits below the largest less `n` population standard deviations of the finite ones become -Infinity. */
function withinDeviations(row: readonly number[], n: number): number[] {
  const finite = row.filter(Number.isFinite)
  const mean = finite.reduce((sum, value) => sum + value / finite.length, 0)
  const variance = finite.reduce((sum, value) => sum + (value - mean) ** 2 / finite.length, 0)
  const least = Math.max(...finite) - n * Math.sqrt(variance)
  return row.map((value) => (value >= least ? value : Number.NEGATIVE_INFINITY))
}

describe('choosing a token', () => {
  it('takes the likeliest at temperature 0, the first of equal ones', async () => {
    expect(await choose([1, 3, 3, 2], GREEDY)).toBe(1)
  })

  it('draws tokens by their probabilities', async () => {
    expectClose(await frequencies({}), PROBABILITIES)
  })

  it('divides the logits by the temperature', async () => {
    const squares = PROBABILITIES.map((p) => p ** 2)
    const total = squares.reduce((a, b) => a + b)
    expectClose(
      await frequencies({ temperature: 0.5 }),
      squares.map((square) => square / total),
    )
  })

  it('keeps the K likeliest tokens', async () => {
    const found = await frequencies({ topK: 2 })
    expectClose(found, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0])
    expect([found[0], found[2], found[4]]).toEqual([0, 0, 0])
    expect(await choose([2, 2, 2], { temperature: 1, topK: 1, topP: 1 })).toBe(0)
  })

  it('keeps the fewest tokens whose total probability is topP', async () => {
    const found = await frequencies({ topP: 0.6 })
    expectClose(found, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0])
    expect([found[0], found[2], found[4]]).toEqual([0, 0, 0])
    expect(await frequencies({ topP: 0.01 }, 50)).toEqual([0, 1, 0, 0, 0])
  })

  it('counts topP within the K likeliest tokens', async () => {
    // 0.4 / 0.65 is above 0.6, so one token is enough.
    expect(await frequencies({ topK: 2, topP: 0.6 }, 50)).toEqual([0, 1, 0, 0, 0])
  })

  it('keeps the tokens that are likely enough beside the likeliest, and the most typical ones', async () => {
    expectClose(await frequencies({ minP: 0.45 }), [0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85])
    // The entropy is 1.415: the informations are 3.0, 0.92, 2.3, 1.39 and 1.61.
    expectClose(await frequencies({ typicalP: 0.4 }), [0, 0, 0, 0.25 / 0.45, 0.2 / 0.45])
  })

  it('keeps the tokens within so many standard deviations of the largest logit, in rows of any length', async () => {
    const random = randomStream(5, 'deviations')
    for (const width of [1, 2, 31, 32, 33, 70, 257, 1000]) {
      const choices = [0.3, 0, 1, 2.5, 40, 1, 1].map((topNSigma, row) => {
        return { ...GREEDY, temperature: row === 5 ? 0 : 0.5 + row, topNSigma, uniform: 0 }
      })
      const rows = choices.map((_, row) =>
        Array.from({ length: width }, () =>
          row > 3 && random.uniform() < 0.3 ? Number.NEGATIVE_INFINITY : Math.fround(20 * random.normal() - 300),
        ),
      )
      using logits = Tensor.from(Float32Array.from(rows.flat()), [rows.length, width], { device })
      await cutByDeviation(logits, choices)
      const expected = rows.map((row, i) => {
        const { topNSigma, temperature } = choices[i]!
        return topNSigma === 0 || temperature === 0 ? row : withinDeviations(row, topNSigma)
      })
      expect(Array.from(await logits.data(), Number)).toEqual(expected.flat())
    }
  })

  it('cuts by deviations before the temperature, and refuses logits that are not finite all the same', async () => {
    // The deviation is 1.118.
    const values = [1, 2, 3, 4]
    const among = async (sampling: Partial<Sampling>) => {
      const tokens = [0.05, 0.3, 0.6, 0.95].map(async (uniform) => {
        using logits = Tensor.from(Float32Array.from(values), [1, 4], { device })
        return await choosing(logits, { ...GREEDY, temperature: 1000, ...sampling, uniform })
      })
      return Promise.all(tokens)
    }
    expect(await among({})).toEqual([0, 1, 2, 3])
    expect(await among({ topNSigma: 1.8 })).toEqual([1, 1, 2, 3])
    expect(await among({ topNSigma: 0.9 })).toEqual([2, 2, 3, 3])
    expect(await among({ topNSigma: 1e-9 })).toEqual([3, 3, 3, 3])
    const cut = { temperature: 2, topK: 0, topP: 1, topNSigma: 1 }
    await expect(choose([1, Number.NaN, 2], cut)).rejects.toThrow(/logit of token 1 is NaN/)
    await expect(choose([1, Number.POSITIVE_INFINITY], cut)).rejects.toThrow(/logit of token 1 is Infinity/)
    await expect(choose([Number.NEGATIVE_INFINITY], cut)).rejects.toThrow(/token 0 is -Infinity/)
    expect(await choose([Number.NEGATIVE_INFINITY, 0], cut)).toBe(1)
  })

  it('chooses the same tokens for the same seed', async () => {
    const sampling = { temperature: 1, topK: 0, topP: 0.9 }
    expect(await draw(sampling, 3, 20)).toEqual(await draw(sampling, 3, 20))
    expect(await draw(sampling, 3, 20)).not.toEqual(await draw(sampling, 4, 20))
  })

  it('refuses logits that are not finite, and accepts tokens that are forbidden', async () => {
    await expect(choose([1, Number.NaN], GREEDY)).rejects.toThrow(/logit of token 1 is NaN/)
    const all = { temperature: 2, topK: 0, topP: 1 }
    await expect(choose([1, Number.POSITIVE_INFINITY], all)).rejects.toThrow(/logit of token 1 is Infinity/)
    expect(await choose([Number.NEGATIVE_INFINITY, 0], all)).toBe(1)
    await expect(choose([Number.NEGATIVE_INFINITY], GREEDY)).rejects.toThrow(/token 0 is -Infinity/)
  })
})
