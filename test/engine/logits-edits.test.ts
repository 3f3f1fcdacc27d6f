import { describe, expect, it } from 'vitest'
import { randomStream } from '../../lib/common/random.js'
import { badWordTokens, type EditOptions, LogitsEdits } from '../../lib/engine/logits-edits.js'

const tokens = { stopIds: [2], vocabularySize: 50 }
const edits = (options: EditOptions, prompt: readonly number[] = []) => new LogitsEdits(options, prompt, tokens)

/** Bias, factor and shift by token. */
function changesOf({ changes }: LogitsEdits): Map<number, number[]> {
  return new Map(Array.from(changes?.ids ?? [], (id, i) => [id, [...changes!.values.subarray(3 * i, 3 * i + 3)]]))
}

const bannedBy = (each: LogitsEdits) =>
  [...changesOf(each)].filter(([, [bias]]) => bias === Number.NEGATIVE_INFINITY).map(([id]) => id)

describe('edits of logits', () => {
  it('are none without options', () => {
    const none = edits({}, [1, 2, 3])
    none.push(4)
    expect(none.changes).toBeUndefined()
  })

  it('count tokens of the answer, and mark those of the prompt too', () => {
    const penalties = edits({ repetitionPenalty: 2, presencePenalty: 0.5, frequencyPenalty: 0.25 }, [7, 7])
    for (const id of [8, 7, 8]) penalties.push(id)
    expect(changesOf(penalties)).toEqual(
      new Map([
        [7, [0, 2, -0.75]],
        [8, [0, 2, -1]],
      ]),
    )
  })

  it('forbid tokens only as long as something forbids them', () => {
    const each = edits({ minNewTokens: 2, noRepeatNgram: 2, badWords: [[5], [3, 4]], logitBias: { 4: 1.5 } }, [3, 9, 3])
    expect(bannedBy(each).sort()).toEqual([2, 4, 5, 9])
    each.push(1)
    expect(bannedBy(each).sort()).toEqual([2, 5])
    each.push(3)
    expect(bannedBy(each).sort()).toEqual([1, 4, 5, 9])
    each.push(6)
    expect(changesOf(each)).toEqual(
      new Map([
        [4, [1.5, 1, 0]],
        [5, [Number.NEGATIVE_INFINITY, 1, 0]],
      ]),
    )
  })

  it('are those of the same tokens as a prompt and an answer, however they came', () => {
    const options = {
      repetitionPenalty: 1.5,
      frequencyPenalty: 0.5,
      noRepeatNgram: 3,
      badWords: [[1, 2], [4]],
      minNewTokens: 5,
    }
    const random = randomStream(3, 'test')
    const ids = Array.from({ length: 200 }, () => random.integer(6))
    const grown = edits(options, ids.slice(0, 10))
    for (const [i, id] of ids.slice(10).entries()) {
      grown.push(id)
      const fresh = edits(options, ids.slice(0, 10))
      for (const earlier of ids.slice(10, 11 + i)) fresh.push(earlier)
      expect(changesOf(grown)).toEqual(changesOf(fresh))
      const [a, b] = ids.slice(9 + i, 11 + i)
      const repeated = ids
        .slice(0, 11 + i)
        .flatMap((_, at) => (ids[at] === a && ids[at + 1] === b && at + 2 < 11 + i ? [ids[at + 2]!] : []))
      const words = b === 1 ? [2, 4] : [4]
      expect(new Set(bannedBy(grown))).toEqual(new Set([...repeated, ...words, ...(i < 4 ? [2] : [])]))
    }
  })

  it('name tokens that the model does not have', () => {
    expect(() => edits({ logitBias: { 50: 1 } })).toThrow(
      "The option logitBias names the token 50, but the model's tokens are 0 to 49.",
    )
    expect(() => edits({ badWords: [[1, 99]] })).toThrow(/badWords names the token 99/)
  })
})

it('bad words are forbidden at the beginning of a text and after a space', async () => {
  const ids: Record<string, number[]> = {
    cat: [1],
    ' cat': [2],
    dogs: [3, 4],
    ' dogs': [5, 4],
    odd: [6, 7],
    ' odd': [8],
  }
  const tokenizer = { encodeContinuation: async (text: string) => ids[text]! }
  expect(await badWordTokens(tokenizer, ['cat', ' dogs', 'odd'])).toEqual([[1], [2], [3, 4], [5, 4], [6, 7]])
})
