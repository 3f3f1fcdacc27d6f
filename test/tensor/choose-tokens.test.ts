import { afterAll, describe, expect, it } from 'vitest'
import { RunError } from '../../lib/common/errors.js'
import { randomStream } from '../../lib/common/random.js'
import { LogitsEdits } from '../../lib/engine/logits-edits.js'
import { chooseTokens } from '../../lib/tensor/operations/choose-tokens.js'
import { GREEDY, type NewToken } from '../../lib/tensor/operations/sampling.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import { liveBytes } from '../live-bytes.js'
import { testDevice } from '../operations/harness.js'

const device = testDevice()
afterAll(() => expect(liveBytes(device), 'bytes in use at the end').toBe(0))

const V = 70
const random = randomStream(1, 'test')
const logitsOf = (rows: number) =>
  Array.from({ length: rows }, () => Array.from({ length: V }, () => 2 * random.normal()))

async function choose(values: readonly number[][], rows: Parameters<typeof chooseTokens>[1]) {
  using logits = Tensor.from(Float32Array.from(values.flat()), [values.length, V], { device })
  return await chooseTokens(logits, rows)
}

const greedy = { ...GREEDY, uniform: 0 }
const likeliest = (row: readonly number[]) => row.indexOf(Math.max(...row))
const without = (id: number) => new LogitsEdits({ badWords: [[id]] }, [], { stopIds: [], vocabularySize: V }).changes

describe('choosing the tokens of a batch', () => {
  it('gives each row what it gives the row alone', async () => {
    const values = logitsOf(6)
    const rows: Parameters<typeof chooseTokens>[1] = [
      greedy,
      { temperature: 1, topK: 5, topP: 1, uniform: 0.9, topLogprobs: 3 },
      { ...greedy, changes: without(likeliest(values[2]!)), topLogprobs: 0 },
      { temperature: 2, topK: 0, topP: 0.8, minP: 0.1, uniform: 0.3 },
      { ...greedy, mask: Int32Array.of(0, 1 << 3, 0), topLogprobs: 2 },
      { ...greedy, temperature: 9, topNSigma: 1e-9, uniform: 0.9, topLogprobs: 1 },
    ]
    const together = await choose(values, rows)
    const alone = await Promise.all(rows.map((row, i) => choose([values[i]!], [row])))
    expect(together).toEqual(alone.flat())
    const tokens = together.flatMap((token) => (token instanceof RunError ? [] : [token]))
    expect(tokens.map(({ top }) => top?.length)).toEqual([undefined, 3, 0, undefined, 2, 1])
    expect(tokens[0]).toEqual({ id: likeliest(values[0]!) })
    expect(tokens[2]!.rank, 'the likeliest is forbidden').toBe(2)
    expect(tokens[4]!.id).toBe(35)
    expect(tokens[5]!.id).toBe(likeliest(values[5]!))
    expect(tokens[5]!.logprob, 'before the cut').toBeLessThan(0)
  })

  it('ranks by the logits before changes', async () => {
    const [row] = logitsOf(1)
    const best = likeliest(row!)
    const [token] = await choose([row!], [{ ...greedy, changes: without(best), topLogprobs: 2 }])
    const { id, logprob, top } = token as Required<NewToken>
    const logSum = Math.log(row!.reduce((sum, value) => sum + Math.exp(value), 0))
    expect(top.map((one) => one.id)).toEqual([best, id])
    expect(logprob).toBeCloseTo(row![id]! - logSum, 5)
    expect(top[0]!.logprob).toBeCloseTo(row![best]! - logSum, 5)
  })

  it('says for each row why there is no token', async () => {
    const values = logitsOf(3)
    values[1]![4] = Number.NaN
    const chosen = await choose(values, [
      { ...greedy, mask: new Int32Array(3), topLogprobs: 1 },
      greedy,
      { ...greedy, topLogprobs: 1 },
    ])
    expect(chosen).toMatchObject([
      { code: 'no-token-left' },
      { code: 'non-finite', message: expect.stringMatching(/logit of token 4 is NaN/) },
      { id: likeliest(values[2]!), rank: 1 },
    ])
  })
})
