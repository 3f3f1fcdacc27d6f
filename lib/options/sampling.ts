/** Options of sampling, beside temperature, top-k and top-p. */
import { z } from 'zod'
import { jsonIn } from '../io/json.js'
import { integer, real, texts } from '../schema/option.js'
import { declare } from '../schema/option-facts.js'

const biases = z.record(z.string().regex(/^(0|[1-9]\d*)$/), z.number().min(-100).max(100))

/** Declared in the order in which they apply, which is vLLM's; topNSigma, temperature, minP, topK, topP and typicalP follow. */
export const samplingOptions = {
  badWords: texts('a text that the completion must not contain', 'TEXT', {
    expects: 'a non-empty text, or a list of them',
    adds: true,
  }),
  noRepeatNgram: integer('forbid repeating a sequence of N tokens of the prompt or the completion; 0 allows it', 0, {
    min: 0,
  }),
  minNewTokens: integer('minimum number of tokens to generate', 0, { min: 0 }),
  logitBias: declare(z.union([z.string().transform(jsonIn).pipe(biases), biases]).optional(), {
    kind: 'text',
    description: 'numbers to add to the logits of tokens, by token id',
    placeholder: 'JSON',
    expects: 'a JSON object of numbers from -100 to 100 by token ids',
    library: { expects: 'an object of numbers from -100 to 100 by token ids' },
  }),
  repetitionPenalty: real(
    'divisor of the positive logits of tokens in the prompt or the completion, and factor of the negative ones',
    1,
    {
      above: 0,
    },
  ),
  frequencyPenalty: real('subtract this from the logit of a token for each time that the completion contains it', 0, {
    min: -2,
    max: 2,
  }),
  presencePenalty: real('subtract this from the logit of each token that the completion contains', 0, {
    min: -2,
    max: 2,
  }),
  topNSigma: real('keep tokens whose logit is at most X standard deviations below the largest; 0 keeps all', 0, {
    min: 0,
  }),
  minP: real("keep tokens with at least this share of the likeliest token's probability", 0, { min: 0, max: 1 }),
  typicalP: real('keep the most typical tokens whose probabilities add up to this (locally typical sampling)', 1, {
    above: 0,
    max: 1,
  }),
}
