/** Options that constrain a completion. */
import { z } from 'zod'
import { choice, text, texts } from '../schema/option.js'
import { declare } from '../schema/option-facts.js'

const aSchema = z.custom<string | boolean | object>(
  (value) => typeof value === 'boolean' || (typeof value === 'string' ? value !== '' : value instanceof Object),
)

/** White space in JSON: either of the two throughout; as JavaScript's `JSON.stringify`; as Python's `json.dumps`. */
export const JSON_SPACINGS = ['either', 'compact', 'spaced'] as const
export type JsonSpacing = (typeof JSON_SPACINGS)[number]

export const constraintOptions = {
  schema: declare(aSchema.optional(), {
    kind: 'text',
    description: 'a JSON schema that the completion must fit: a file, or JSON',
    placeholder: 'FILE|JSON',
    expects: 'the path of a JSON file, or JSON',
    library: {
      description:
        'a JSON schema, or a schema of zod 4, that the completion must fit; a text is JSON or the path of a file',
      expects: 'a JSON schema or a schema of zod 4',
    },
  }),
  jsonSpacing: choice(
    'white space in the JSON of a schema: compact has none, spaced has a space after each comma and colon, either continues like the first separator that the model chooses',
    JSON_SPACINGS,
    'either',
  ),
  grammar: text('a grammar in EBNF, with the rule root, that the completion must match', 'TEXT', {
    expects: 'a grammar',
  }),
  regex: text('a regular expression that the whole completion must match', 'TEXT', { expects: 'a regular expression' }),
  choices: texts('one of the texts that the completion may be', 'TEXT', {
    expects: 'a non-empty text, or a list of them',
    adds: true,
  }),
}
