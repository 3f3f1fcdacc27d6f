/** Constraints of generated text: a JSON schema, a grammar, a regular expression or choices. */
import { z } from 'zod'
import {
  aSignal,
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
import { optionName } from '../../common/option-names.js'
import { JSON_SPACINGS, type JsonSpacing } from '../../options/constraint.js'
import type { Tokenizer } from '../../text/tokenizer.js'
import { type Grammar, Grammars } from './grammars.js'
import { limits } from './limits.js'
import { type ConstraintSource, unsupported } from './source.js'
import type { Vocabulary } from './thread.js'
import { newNumber } from './thread-client.js'

/** Options of a constraint: exactly one of `schema`, `grammar`, `regex` and `choices`. */
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

/** The vocabulary of a constraint. */
export interface ConstraintTokens {
  /** The part of a tokenizer that spells tokens. */
  tokenizer: Pick<Tokenizer, 'vocabularySize' | 'specialIds' | 'tokenBytes'>
  /** V, the number of logits; by default the tokenizer's number of tokens. */
  vocabularySize?: number
  /** Ids of the tokens that end a text, which are allowed once it is complete. */
  eosIds: ArrayLike<number>
}

/** Follows one text, and masks the tokens that may not come next. */
export interface Constraint {
  /**
   * Returns ceil(V / 32) words: bit `id % 32` of word `id >> 5` is 1 if the token may come next. All are 0 at the end.
   * @throws UsageError `unsupported-constraint` if the text takes too much time or memory
   */
  mask(): Promise<Int32Array>
  /**
   * Adds a token to the text.
   * @throws UsageError `bad-value` for a token that the last mask does not allow, and for one after another without a mask between
   */
  accept(id: number): void
  /** Whether an end token has ended the text. */
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
  signal: aSignal.optional(),
}

function isSchema(value: unknown): boolean {
  return typeof value === 'boolean' || (isObject(value) && !('_def' in value && !('_zod' in value)))
}

/**
 * Opens a constraint. The first of a vocabulary and the first of a schema take some tenths of a second more; both are cached. Compiling
 * runs in threads, within limits of time and memory.
 * @throws UsageError `unsupported-constraint` that names what cannot be enforced
 * @throws UsageError `malformed-grammar`
 */
export async function openConstraint(
  options: ConstraintOptions,
  tokens: ConstraintTokens,
  signal?: AbortSignal,
): Promise<Constraint> {
  check({ options, tokens, signal }, constraintArguments)
  const source = sourceOf(options)
  const vocabularySize = tokens.vocabularySize ?? tokens.tokenizer.vocabularySize
  const eosIds = Array.from(tokens.eosIds)
  const grammar = await grammarsOf(tokens, vocabularySize, eosIds).compiled(source, signal)
  return new GrammarConstraint(grammar, eosIds)
}

class GrammarConstraint implements Constraint {
  readonly #grammar: Grammar
  readonly #eosIds: ReadonlySet<number>
  readonly #text = newNumber()
  #mask: Promise<Int32Array>
  /** The last mask, once it is computed. */
  #words: Int32Array | undefined
  #isDone = false
  #isDisposed = false

  constructor(grammar: Grammar, eosIds: readonly number[]) {
    this.#grammar = grammar
    this.#eosIds = new Set(eosIds)
    this.#mask = this.#received(grammar.thread.open(grammar.number, this.#text))
  }

  get done(): boolean {
    return this.#isDone
  }

  mask(): Promise<Int32Array> {
    return this.#mask
  }

  accept(id: number): void {
    const words = this.#words
    if (!words) throw badValue('id', 'a token of the mask, which has to be awaited', id)
    if (!Number.isSafeInteger(id) || ((words[id >> 5] ?? 0) & (1 << (id & 31))) === 0)
      throw badValue('id', 'a token that the constraint allows', id)
    this.#isDone = this.#eosIds.has(id)
    if (this.#isDisposed) return
    // The thread computes the next mask while the model computes the token.
    if (!this.#isDone) this.#mask = this.#received(this.#change({ task: 'accept', text: this.#text, id }))
    else this.#mask = this.#received(Promise.resolve(new Int32Array(words.length)))
  }

  reset(): void {
    if (this.#isDisposed) return
    this.#isDone = false
    this.#mask = this.#received(this.#change({ task: 'reset', text: this.#text }))
  }

  dispose(): void {
    if (this.#isDisposed) return
    this.#isDisposed = true
    this.#grammar.thread.close(this.#text)
  }

  #change(task: { task: 'accept'; text: number; id: number } | { task: 'reset'; text: number }): Promise<Int32Array> {
    return this.#grammar.thread.change(task)
  }

  #received(mask: Promise<Int32Array>): Promise<Int32Array> {
    this.#words = undefined
    const received = mask.then((words) => {
      if (this.#mask === received) this.#words = words
      return words
    })
    // An error is thrown when the mask is awaited.
    received.catch(() => {})
    return received
  }
}

function sourceOf(options: ConstraintOptions): ConstraintSource {
  const { schema, jsonSpacing = 'either', grammar, regex, choices } = options
  if ([schema, grammar, regex, choices].filter((one) => one !== undefined).length !== 1) {
    const [last, ...others] = ['choices', 'schema', 'grammar', 'regex'].map((name) => optionName(name))
    throw new UsageError('unfit-options', `A constraint has exactly one of ${others.join(', ')} and ${last}.`)
  }
  const { characters, regexCharacters } = limits
  if (grammar !== undefined) return { grammar: short(grammar, 'grammar', characters) }
  if (regex !== undefined) return { regex: short(regex, 'regular expression', regexCharacters) }
  if (choices) {
    short(choices.join(''), 'list of choices', characters)
    return { choices }
  }
  return { schema: short(jsonOf(schema), 'schema', characters), spacing: jsonSpacing }
}

function short(text: string, what: string, most: number): string {
  if (text.length <= most) return text
  const sentence = `Expected a ${what} of at most ${most} characters but received one of ${text.length}.`
  throw new UsageError('unsupported-constraint', sentence)
}

/** Returns the JSON of a schema. */
function jsonOf(schema: unknown): string {
  try {
    const isZod = isObject(schema) && '_zod' in schema
    return JSON.stringify(isZod ? z.toJSONSchema(schema as unknown as z.ZodType, { io: 'input' }) : schema)
  } catch (cause) {
    const reason = cause instanceof RangeError ? 'how deep it nests' : (cause as Error).message.replace(/\.$/, '')
    throw unsupported({ schema: '', spacing: 'either' }, reason, { cause })
  }
}

const vocabularies = new WeakMap<object, Map<string, Grammars>>()

function grammarsOf({ tokenizer }: ConstraintTokens, vocabularySize: number, eosIds: readonly number[]): Grammars {
  const known = vocabularies.get(tokenizer) ?? new Map<string, Grammars>()
  vocabularies.set(tokenizer, known)
  const key = [vocabularySize, ...eosIds].join()
  const grammars = known.get(key) ?? new Grammars(spelled(tokenizer, vocabularySize, eosIds))
  known.set(key, grammars)
  return grammars
}

/** Returns the bytes of each token by its id; none for control tokens, and for ids without a token. */
function spelled(
  { tokenBytes, specialIds, vocabularySize }: ConstraintTokens['tokenizer'],
  size: number,
  eosIds: readonly number[],
): Vocabulary {
  if (!tokenBytes) {
    throw new UsageError(
      'unsupported-tokenizer',
      'The tokens of this tokenizer do not spell bytes (it is no byte-level or SentencePiece tokenizer), so its texts cannot be constrained.',
    )
  }
  const known = Math.min(size, vocabularySize)
  const tokens = Array.from({ length: known }, (_, id) => (specialIds.has(id) ? new Uint8Array() : tokenBytes.of(id)))
  let end = 0
  const ends = Int32Array.from(tokens, ({ length }) => {
    end += length
    return end
  })
  return { number: newNumber(), bytes: Buffer.concat(tokens), ends, size, eosIds }
}
