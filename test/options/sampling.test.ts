import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { samplingOptions } from '../../lib/options/sampling.js'
import { parseOptions } from '../../lib/schema/parse.js'

const schema = z.strictObject(samplingOptions)
const parse = (options: object) => parseOptions(schema, options)

describe('options of sampling', () => {
  it('change nothing by default', () => {
    expect(parse({})).toEqual({
      noRepeatNgram: 0,
      minNewTokens: 0,
      repetitionPenalty: 1,
      frequencyPenalty: 0,
      presencePenalty: 0,
      topNSigma: 0,
      minP: 0,
      typicalP: 1,
    })
  })

  it('take biases as an object or as JSON, and one bad word or several', () => {
    expect(parse({ logitBias: { 12: -1.5 }, badWords: 'no' })).toMatchObject({
      logitBias: { 12: -1.5 },
      badWords: ['no'],
    })
    expect(parse({ logitBias: '{"12": 100}', badWords: ['a', 'b'] })).toMatchObject({ logitBias: { 12: 100 } })
  })

  it.each([
    [{ topNSigma: -1 }, 'Expected a number of at least 0 for topNSigma but received -1.'],
    [{ minP: 1.1 }, 'Expected a number of at least 0 up to 1 for minP but received 1.1.'],
    [{ typicalP: 0 }, 'Expected a number above 0 up to 1 for typicalP but received 0.'],
    [{ repetitionPenalty: 0 }, 'Expected a number above 0 for repetitionPenalty but received 0.'],
    [{ frequencyPenalty: 3 }, 'Expected a number of at least -2 up to 2 for frequencyPenalty but received 3.'],
    [{ presencePenalty: Number.NaN }, /for presencePenalty but received/],
    [{ noRepeatNgram: 1.5 }, 'Expected a whole number of at least 0 for noRepeatNgram but received 1.5.'],
    [{ minNewTokens: -1 }, 'Expected a whole number of at least 0 for minNewTokens but received -1.'],
    [{ logitBias: { cat: 1 } }, /^Expected an object of numbers from -100 to 100 by token ids for logitBias but/],
    [{ logitBias: { 3: 101 } }, /for logitBias but received/],
    [{ badWords: [''] }, /^Expected a non-empty text, or a list of them for badWords but received/],
  ])('refuse %j in a sentence', (options, sentence) => {
    expect(() => parse(options)).toThrow(sentence)
  })
})
