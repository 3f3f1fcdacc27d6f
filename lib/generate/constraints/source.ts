/** Makes the grammar of a constraint. */
import { UsageError } from '../../common/errors.js'
import { shortened } from '../../common/printable.js'
import type { JsonSpacing } from '../../options/constraint.js'
import { GrammarRules } from './grammar-rules.js'
import { depthOf } from './grammar-size.js'
import { Inexpressible, type Language, textsLanguage } from './language.js'
import { limits } from './limits.js'
import { regexLanguage, WHOLE_TEXT } from './regex.js'
import { schemaGrammar } from './schema-grammar.js'

/** A constraint as data: a grammar in EBNF, the JSON of a schema, a regular expression, or texts. */
export type ConstraintSource =
  | { readonly grammar: string }
  | { readonly schema: string; readonly spacing: JsonSpacing }
  | { readonly regex: string }
  | { readonly choices: readonly string[] }

/**
 * Returns a grammar in EBNF, as XGrammar reads it.
 * @throws UsageError `unsupported-constraint` that names what cannot be enforced
 */
export function grammarOf(source: ConstraintSource): string {
  if ('grammar' in source) {
    const depth = depthOf(source.grammar)
    if (depth <= limits.parentheses) return source.grammar
    throw new UsageError(
      'unsupported-constraint',
      `The grammar nests parentheses ${depth} deep, and at most ${limits.parentheses} levels can be compiled; write the inner ones as rules of their own.`,
    )
  }
  try {
    if ('schema' in source) return schemaGrammar(JSON.parse(source.schema), source.spacing)
    return ofLanguage('regex' in source ? regexLanguage(source.regex, WHOLE_TEXT) : textsLanguage(source.choices))
  } catch (cause) {
    const isDeep = cause instanceof RangeError
    if (!isDeep && !(cause instanceof Inexpressible)) throw cause
    const reason = isDeep ? 'how deep it nests' : shortened((cause as Error).message, MOST_OF_A_REASON)
    throw unsupported(source, reason, { cause })
  }
}

/** Returns the error of a constraint that cannot be enforced. */
export function unsupported(source: ConstraintSource, reason: string, options?: ErrorOptions): UsageError {
  const [what, advice] =
    'choices' in source
      ? ['choices', 'give fewer or shorter ones']
      : ['schema' in source ? 'schema' : 'regular expression', 'leave that out, and check it afterwards']
  const sentence = `The ${what} cannot be enforced, because of ${reason}; ${advice}.`
  return new UsageError('unsupported-constraint', sentence, options)
}

const MOST_OF_A_REASON = 500

function ofLanguage(language: Language): string {
  const rules = new GrammarRules()
  return rules.grammar(rules.addLanguage(language))
}
