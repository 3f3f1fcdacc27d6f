/** Options of how tokens are chosen, beside temperature, top-k and top-p. */
import { z } from 'zod'
import { jsonIn } from '../io/json.js'
import { integer, real, texts } from '../schema/option.js'
import { declare } from '../schema/option-facts.js'

const biases = z.record(z.string().regex(/^(0|[1-9]\d*)$/), z.number().min(-100).max(100))

/** In the order in which they apply, which is vLLM's; temperature, minP, topK, topP and typicalP follow. */
export const samplingOptions = {
  badWords: texts('a text that the answer must not contain', 'TEXT', {
    expects: 'a non-empty text, or a list of them',
    adds: true,
  }),
  noRepeatNgram: integer('sequences of N tokens do not repeat, those of the prompt included; 0: all may', 0, {
    min: 0,
  }),
  minNewTokens: integer('fewest tokens to generate', 0, { min: 0 }),
  logitBias: declare(z.union([z.string().transform(jsonIn).pipe(biases), biases]).optional(), {
    kind: 'text',
    description: 'what to add to the logits of tokens, by id',
    placeholder: 'JSON',
    expects: 'a JSON object of numbers from -100 to 100 by token ids',
    library: { expects: 'an object of numbers from -100 to 100 by token ids' },
  }),
  repetitionPenalty: real('divides logits of tokens of the prompt and the answer, where they are positive', 1, {
    above: 0,
  }),
  frequencyPenalty: real('subtract this for each time that the answer has a token', 0, { min: -2, max: 2 }),
  presencePenalty: real('subtract this from tokens that the answer has', 0, { min: -2, max: 2 }),
  minP: real("keep tokens with at least this share of the likeliest token's probability", 0, { min: 0, max: 1 }),
  typicalP: real('keep the most typical tokens that together have this probability', 1, { above: 0, max: 1 }),
}
