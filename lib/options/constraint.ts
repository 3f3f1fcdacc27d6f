/** Options of what a generated text must be. */
import { z } from 'zod'
import { text, texts } from '../schema/option.js'
import { declare } from '../schema/option-facts.js'

const aSchema = z.custom<string | boolean | object>(
  (value) => typeof value === 'boolean' || (typeof value === 'string' ? value !== '' : value instanceof Object),
)

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
  grammar: text('a grammar in EBNF, with the rule root, that the answer follows', 'TEXT', { expects: 'a grammar' }),
  regex: text('a regular expression that matches the whole answer', 'TEXT', { expects: 'a regular expression' }),
  choices: texts('a text that the answer may be, of several', 'TEXT', {
    expects: 'a non-empty text, or a list of them',
    adds: true,
  }),
}
