/** Constraints of generated text: a JSON schema, a grammar, a regular expression or choices. */
import { z } from 'zod'
import {
  aText,
  badValue,
  check,
  custom,
  expecting,
  having,
  isObject,
  optionsSchema,
  wholeBetween,
  wholes,
} from '../../common/arguments.js'
import { UsageError } from '../../common/errors.js'
import { reasonOf } from '../../common/foreign-errors.js'
import { BYTE_LETTERS } from '../../data/tokenizer/token-bytes.js'
import type { Tokenizer } from '../../data/tokenizer/tokenizer.js'
import { JSON_SPACINGS, type JsonSpacing } from '../../options/constraint.js'
import { Inexpressible } from './inexpressible.js'
import { GrammarRules, type Language, textLanguage } from './language.js'
import { regexLanguage, WHOLE_TEXT } from './regex.js'
import { schemaGrammar } from './schema-grammar.js'
import { type CompiledGrammar, type GrammarMatcher, loadXGrammar, type XGrammar } from './xgrammar.js'

/** What a text has to be: exactly one of `schema`, `grammar`, `regex` and `choices`. */
export interface ConstraintOptions {
  /** JSON, on one line, that is valid against a JSON schema, or against a schema of zod 4. */
  schema?: unknown
  /**
   * The spacing of the JSON of a schema: `compact` is that of `JSON.stringify`, `spaced` has a space after each comma and colon, as
   * Python's `json.dumps`. By default `either`: the first separator decides for the whole text.
   */
  jsonSpacing?: JsonSpacing
  /** A text of a grammar in EBNF whose first rule is `root`, as XGrammar reads it. */
  grammar?: string
  /** A text that a regular expression matches as a whole. */
  regex?: string
  /** One of these texts. */
  choices?: readonly string[]
}

/** The tokens among which a constraint allows some. */
export interface ConstraintTokens {
  /** The part of a tokenizer that spells tokens. */
  tokenizer: Pick<Tokenizer, 'vocabularySize' | 'specialIds' | 'tokenBytes'>
  /** V, the number of logits; by default the tokenizer's number of tokens. */
  vocabularySize?: number
  /** Ids of the tokens that end a text, which are allowed once it is complete. */
  eosIds: ArrayLike<number>
}

/** Follows one text, and tells which tokens may come next. */
export interface Constraint {
  /** Returns ceil(V / 32) words: bit `id % 32` of word `id >> 5` tells whether a token may come next. All are 0 at the end. */
  mask(): Promise<Int32Array>
  /**
   * Adds a token to the text.
   * @throws UsageError `bad-value` for a token that is not allowed
   */
  accept(id: number): void
  /** Whether the text has ended, by a token that ends texts. */
  readonly done: boolean
  /** Begins a new text. */
  reset(): void
  /** Frees the memory. */
  dispose(): void
}

/** Largest number of logits. */
const MOST_TOKENS = 2 ** 22

const constraintArguments = {
  options: optionsSchema('the options of a constraint', {
    schema: custom('a JSON schema or a schema of zod 4', isSchema).optional(),
    jsonSpacing: z.enum(JSON_SPACINGS).optional(),
    grammar: aText.optional(),
    regex: aText.optional(),
    choices: expecting('a list of one text or more', z.array(aText).min(1)).optional(),
  }),
  tokens: optionsSchema('the tokens of a constraint', {
    tokenizer: having('a tokenizer (loadTokenizer gives one)', 'vocabularySize', 'specialIds'),
    vocabularySize: wholeBetween(1, MOST_TOKENS).optional(),
    eosIds: wholes,
  }),
}

function isSchema(value: unknown): boolean {
  return typeof value === 'boolean' || (isObject(value) && !('_def' in value && !('_zod' in value)))
}

/**
 * Opens a constraint. The first one of a vocabulary takes about a tenth of a second more, and so does the first of a schema; both are
 * kept.
 * @throws UsageError `unsupported-constraint` that names what cannot be enforced
 * @throws UsageError `malformed-grammar`
 */
export async function openConstraint(options: ConstraintOptions, tokens: ConstraintTokens): Promise<Constraint> {
  check({ options, tokens }, constraintArguments)
  const source = await grammarSource(options)
  const vocabularySize = tokens.vocabularySize ?? tokens.tokenizer.vocabularySize
  try {
    return new GrammarConstraint(await vocabularyOf(tokens, vocabularySize).matcher(source), vocabularySize)
  } catch (cause) {
    if (cause instanceof UsageError) throw cause
    // After a failure of its own, the library's memory is unusable.
    shared = undefined
    vocabularies = new WeakMap()
    throw new UsageError(
      'unsupported-constraint',
      `The constraint cannot be compiled (${reasonOf(cause, 'the library failed')}); make it smaller.`,
      { cause },
    )
  }
}

class GrammarConstraint implements Constraint {
  readonly #matcher: GrammarMatcher
  readonly #vocabularySize: number

  constructor(matcher: GrammarMatcher, vocabularySize: number) {
    this.#matcher = matcher
    this.#vocabularySize = vocabularySize
  }

  get done(): boolean {
    return this.#matcher.isTerminated()
  }

  async mask(): Promise<Int32Array> {
    if (this.done) return new Int32Array(Math.ceil(this.#vocabularySize / 32))
    const words = await this.#matcher.getNextTokenBitmask()
    // The library may set the bits behind those of the last token.
    const used = this.#vocabularySize % 32
    if (used > 0) words[words.length - 1]! &= 2 ** used - 1
    return words
  }

  accept(id: number): void {
    if (!Number.isSafeInteger(id) || this.done || !this.#matcher.acceptToken(id))
      throw badValue('id', 'a token that the constraint allows', id)
  }

  reset(): void {
    this.#matcher.reset()
  }

  dispose(): void {
    this.#matcher.dispose()
  }
}

async function grammarSource(options: ConstraintOptions): Promise<string> {
  const { schema, jsonSpacing, grammar, regex, choices } = options
  if ([schema, grammar, regex, choices].filter((one) => one !== undefined).length !== 1) {
    throw new UsageError(
      'unfit-options',
      'A constraint has exactly one of the options schema, grammar, regex and choices.',
    )
  }
  if (grammar !== undefined) {
    const problem = await problemOf(grammar)
    if (problem === undefined) return grammar
    throw new UsageError('malformed-grammar', `The grammar cannot be read: ${problem}.`)
  }
  if (choices) return grammarOf({ any: choices.map(textLanguage) })
  try {
    if (regex !== undefined) return grammarOf(regexLanguage(regex, WHOLE_TEXT))
    const json = isObject(schema) && '_zod' in schema ? jsonSchemaOf(schema as unknown as z.ZodType) : schema
    return schemaGrammar(json, jsonSpacing)
  } catch (cause) {
    const isDeep = cause instanceof RangeError
    if (!isDeep && !(cause instanceof Inexpressible)) throw cause
    const what = isDeep ? 'how deep it nests' : (cause as Error).message
    throw new UsageError(
      'unsupported-constraint',
      `The ${schema === undefined ? 'regular expression' : 'schema'} cannot be enforced, because of ${what}; leave that out, and check it afterwards.`,
      { cause },
    )
  }
}

function grammarOf(language: Language): string {
  const rules = new GrammarRules()
  return rules.grammar(rules.addLanguage(language))
}

function jsonSchemaOf(schema: z.ZodType): unknown {
  try {
    return z.toJSONSchema(schema, { io: 'input' })
  } catch (cause) {
    throw new Inexpressible((cause as Error).message.replace(/\.$/, ''), { cause })
  }
}

/** The instance with which grammars of users are tried, since a faulty one leaves its memory unusable. */
let trial: { library: XGrammar; said: string[] } | undefined

async function problemOf(grammar: string): Promise<string | undefined> {
  if (!trial) {
    const said: string[] = []
    trial = { library: loadXGrammar((line) => said.push(line)), said }
  }
  const { library, said } = trial
  try {
    const parsed = await library.Grammar.fromEBNF(grammar)
    parsed.dispose()
    return undefined
  } catch (cause) {
    trial = undefined
    const [, problem] = /^\[FATAL\] \S+ (?:EBNF \w+ error )?(.*?)\.?$/m.exec(said.join('\n')) ?? []
    return problem ?? (cause as Error).message
  }
}

/** Most grammars that are kept compiled for one vocabulary. */
const MOST_GRAMMARS = 64

let shared: XGrammar | undefined
let vocabularies = new WeakMap<object, Map<string, Vocabulary>>()

function vocabularyOf({ tokenizer, eosIds }: ConstraintTokens, vocabularySize: number): Vocabulary {
  const kept = vocabularies.get(tokenizer) ?? new Map<string, Vocabulary>()
  vocabularies.set(tokenizer, kept)
  const key = [vocabularySize, ...Array.from(eosIds)].join()
  const vocabulary = kept.get(key) ?? new Vocabulary(tokenizer, vocabularySize, Array.from(eosIds))
  kept.set(key, vocabulary)
  return vocabulary
}

/** The tokens of a tokenizer in the library, and the grammars that were compiled for them. */
class Vocabulary {
  readonly #library: XGrammar
  readonly #compiler: ReturnType<XGrammar['GrammarCompiler']['createGrammarCompiler']>
  /** The one that was used last is the last. */
  readonly #grammars = new Map<string, Promise<CompiledGrammar>>()

  constructor(tokenizer: ConstraintTokens['tokenizer'], vocabularySize: number, eosIds: readonly number[]) {
    shared ??= loadXGrammar(() => {})
    const library = shared
    // The library has no way to take bytes but this one.
    const tokens = spelled(tokenizer, vocabularySize).map((bytes) =>
      Array.from(bytes, (byte) => BYTE_LETTERS[byte]).join(''),
    )
    this.#library = library
    this.#compiler = library.TokenizerInfo.createTokenizerInfo(
      tokens,
      'byte_level',
      false,
      vocabularySize,
      eosIds,
    ).then((info) => library.GrammarCompiler.createGrammarCompiler(info, false))
  }

  async matcher(source: string): Promise<GrammarMatcher> {
    const grammar = this.#grammars.get(source) ?? this.#compiled(source)
    this.#grammars.delete(source)
    this.#grammars.set(source, grammar)
    const [oldest] = this.#grammars
    if (oldest && this.#grammars.size > MOST_GRAMMARS) {
      this.#grammars.delete(oldest[0])
      const [, evicted] = oldest
      evicted.then(
        (compiled) => compiled.dispose(),
        () => {},
      )
    }
    return await this.#library.GrammarMatcher.createGrammarMatcher(await grammar)
  }

  async #compiled(source: string): Promise<CompiledGrammar> {
    const compiler = await this.#compiler
    const parsed = await this.#library.Grammar.fromEBNF(source)
    const compiled = await compiler.compileGrammar(parsed)
    parsed.dispose()
    return compiled
  }
}

/** Returns the bytes of each token by its id; none for control tokens, and for ids without a token. */
function spelled(
  { tokenBytes, specialIds, vocabularySize }: ConstraintTokens['tokenizer'],
  count: number,
): Uint8Array[] {
  if (tokenBytes) {
    const known = Math.min(count, vocabularySize)
    return Array.from({ length: known }, (_, id) => (specialIds.has(id) ? new Uint8Array() : tokenBytes.of(id)))
  }
  throw new UsageError(
    'unsupported-tokenizer',
    'The tokens of this tokenizer do not spell bytes (it is no byte-level or SentencePiece tokenizer), so what it writes cannot be constrained.',
  )
}
