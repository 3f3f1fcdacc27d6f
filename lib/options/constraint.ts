/** Options of what a generated text must be. */
import { z } from 'zod'
import { choice, text, texts } from '../schema/option.js'
import { declare } from '../schema/option-facts.js'

const aSchema = z.custom<string | boolean | object>(
  (value) => typeof value === 'boolean' || (typeof value === 'string' ? value !== '' : value instanceof Object),
)

/** Spacings of JSON: either of the two as a whole, that of JavaScript's `JSON.stringify`, that of Python's `json.dumps`. */
export const JSON_SPACINGS = ['either', 'compact', 'spaced'] as const
export type JsonSpacing = (typeof JSON_SPACINGS)[number]

export const constraintOptions = {
  schema: declare(aSchema.optional(), {
    kind: 'text',
    description: 'a JSON schema that the answer fits: a file, or the JSON itself',
    placeholder: 'FILE|JSON',
    expects: 'the path of a JSON file, or JSON',
    library: {
      description: 'a JSON schema, or a schema of zod 4, that the answer fits; a text is JSON or the path of a file',
      expects: 'a JSON schema or a schema of zod 4',
    },
  }),
  jsonSpacing: choice(
    'spacing of the JSON of a schema: none (compact, as JSON.stringify writes), a space after each comma and colon (spaced), or as the first separator that the model prefers',
    JSON_SPACINGS,
    'either',
  ),
  grammar: text('a grammar in EBNF, with the rule root, that the answer follows', 'TEXT', { expects: 'a grammar' }),
  regex: text('a regular expression that matches the whole answer', 'TEXT', { expects: 'a regular expression' }),
  choices: texts('a text that the answer may be, of several', 'TEXT', {
    expects: 'a non-empty text, or a list of them',
    adds: true,
  }),
}
