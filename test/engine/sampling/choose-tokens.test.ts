import { afterAll, describe, expect, it } from 'vitest'
import { randomStream } from '../../../lib/common/random.js'
import { type ChoiceOfRow, chooseTokens } from '../../../lib/engine/sampling/choose-tokens.js'
import { LogitsEdits } from '../../../lib/engine/sampling/logits-edits.js'
import { GREEDY } from '../../../lib/tensor/operations/sampling.js'
import { Tensor } from '../../../lib/tensor/tensor.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'

const device = testDevice()
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

const V = 70
const random = randomStream(1, 'test')
const logitsOf = (rows: number) =>
  Array.from({ length: rows }, () => Array.from({ length: V }, () => 2 * random.normal()))

async function choose(values: readonly number[][], rows: readonly ChoiceOfRow[]) {
  using logits = Tensor.from(Float32Array.from(values.flat()), [values.length, V], { device })
  return await chooseTokens(logits, rows)
}

const greedy = { ...GREEDY, uniform: 0 }
const likeliest = (row: readonly number[]) => row.indexOf(Math.max(...row))
const without = (id: number) => new LogitsEdits({ badWords: [[id]] }, [], { stopIds: [], vocabularySize: V }).changes

describe('choosing the tokens of a batch', () => {
  it('gives each row what it gives the row alone', async () => {
    const values = logitsOf(6)
    const rows: ChoiceOfRow[] = [
      { choice: greedy },
      { choice: { temperature: 1, topK: 5, topP: 1, uniform: 0.9 }, topLogprobs: 3 },
      { choice: greedy, changes: without(likeliest(values[2]!)), topLogprobs: 0 },
      { choice: { temperature: 2, topK: 0, topP: 0.8, minP: 0.1, uniform: 0.3 } },
      { choice: greedy, mask: Int32Array.of(0, 1 << 3, 0), topLogprobs: 2 },
      { choice: { ...greedy, temperature: 9, topNSigma: 1e-9, uniform: 0.9 }, topLogprobs: 1 },
    ]
    const together = await choose(values, rows)
    const alone = await Promise.all(rows.map((row, i) => choose([values[i]!], [row])))
    expect(together).toEqual(alone.flat())
    expect(together.map(({ ranked }) => ranked?.top.length)).toEqual([undefined, 3, 0, undefined, 2, 1])
    expect(together[0]).toEqual({ id: likeliest(values[0]!) })
    expect(together[2]!.ranked!.rank, 'the likeliest is forbidden').toBe(2)
    expect(together[4]!.id).toBe(35)
    expect(together[5]!.id).toBe(likeliest(values[5]!))
    expect(together[5]!.ranked!.logprob, 'before the cut').toBeLessThan(0)
  })

  it('ranks by the logits before changes', async () => {
    const [row] = logitsOf(1)
    const best = likeliest(row!)
    const [{ id, ranked } = { id: -1 }] = await choose(
      [row!],
      [{ choice: greedy, changes: without(best), topLogprobs: 2 }],
    )
    const logSum = Math.log(row!.reduce((sum, value) => sum + Math.exp(value), 0))
    expect(ranked!.top.map((token) => token.id)).toEqual([best, id])
    expect(ranked!.logprob).toBeCloseTo(row![id]! - logSum, 5)
    expect(ranked!.top[0]!.logprob).toBeCloseTo(row![best]! - logSum, 5)
  })

  it('says for each row why there is no token', async () => {
    const values = logitsOf(3)
    values[1]![4] = Number.NaN
    const chosen = await choose(values, [
      { choice: greedy, mask: new Int32Array(3), topLogprobs: 1 },
      { choice: greedy },
      { choice: greedy, topLogprobs: 1 },
    ])
    expect(chosen.map(({ error }) => error?.code)).toEqual(['no-token-left', 'non-finite', undefined])
    expect(chosen[1]!.error!.message).toMatch(/logit of token 4 is NaN/)
    expect(chosen[0]!.ranked).toBeUndefined()
    expect(chosen[2]!.id).toBe(likeliest(values[2]!))
  })
})
