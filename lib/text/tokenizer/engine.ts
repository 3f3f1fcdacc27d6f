/**
 * Hugging Face's tokenizers, a binding of the Rust library. Failures inside it, such as excessive backtracking or contradicting
 * parts, end the process, so it runs in an isolated one.
 */
import type * as Library from 'tokenizers'
import { InputError, UsageError } from '../../common/errors.js'

export interface TokenizerDefinition {
  /** Content of tokenizer.json, without what depends on options. */
  json: string
  /** The spellings of the added tokens. */
  added: readonly string[]
  /** Names the folder or file in errors. */
  origin: string
}

export interface Encoding {
  asks: 'encoded'
  text: string
  /** Whether to return the places of tokens. */
  places: boolean
}

interface Decoding {
  asks: 'decoded'
  ids: readonly number[]
}

/** `added` asks for the ids of the added tokens; null for tokens that the library does not accept. */
export type TokenizerTask = { asks: 'added' } | Encoding | Decoding

/** The tokens of a text, each with its part of the text, in UTF-16 units. Places never go back from one token to the next. */
export interface TokenPlaces {
  readonly ids: ArrayLike<number>
  startOf(token: number): number
  endOf(token: number): number
  /** Returns a token near a place, if it can be found fast. */
  near?(place: number): number | undefined
}

/** A tokenizer of the library. */
export class TokenizerEngine {
  /** The spellings of the added tokens by their ids. */
  readonly added: ReadonlyMap<number, string>
  readonly #tokenizer: Library.Tokenizer
  readonly #definition: TokenizerDefinition

  private constructor(tokenizer: Library.Tokenizer, definition: TokenizerDefinition) {
    this.#tokenizer = tokenizer
    this.#definition = definition
    const ids = definition.added.map((token) => [tokenizer.tokenToId(token), token] as const)
    this.added = new Map(ids.filter((entry): entry is readonly [number, string] => entry[0] !== null))
  }

  /**
   * @throws UsageError `no-tokenizer-library`
   * @throws InputError `malformed-tokenizer`
   */
  static async load(definition: TokenizerDefinition): Promise<TokenizerEngine> {
    const { Tokenizer } = await library()
    try {
      return new TokenizerEngine(Tokenizer.fromString(definition.json), definition)
    } catch (cause) {
      throw malformed(`The tokenizer of ${definition.origin} cannot be used`, cause)
    }
  }

  /** @throws InputError `malformed-tokenizer` if the text or the ids are refused */
  async answer(task: TokenizerTask): Promise<unknown> {
    if (task.asks === 'encoded') return encodedOf(task, (await this.encode([task.text]))[0]!)
    if (task.asks === 'decoded') return this.#decode(task)
    return this.#definition.added.map((token) => this.#tokenizer.tokenToId(token))
  }

  /**
   * Encodes texts together, on several threads.
   * @throws InputError `malformed-tokenizer` if one of the texts cannot be encoded
   */
  async encode(texts: readonly string[]): Promise<EncodedText[]> {
    try {
      const encodings = await this.#tokenizer.encodeBatch([...texts], { addSpecialTokens: false })
      return encodings.map((encoding, i) => new EncodedText(texts[i]!, encoding, this.added))
    } catch (cause) {
      throw malformed(`The tokenizer of ${this.#definition.origin} cannot encode this text`, cause)
    }
  }

  async #decode({ ids }: Decoding): Promise<string> {
    try {
      return await this.#tokenizer.decode([...ids], false)
    } catch (cause) {
      throw malformed(`The tokenizer of ${this.#definition.origin} cannot decode these ids`, cause)
    }
  }
}

async function library(): Promise<typeof Library> {
  try {
    return await import('tokenizers')
  } catch (cause) {
    throw new UsageError(
      'no-tokenizer-library',
      `The package tokenizers cannot be loaded on ${process.platform} ${process.arch}, and text needs it; rows of input_ids do not. It has binaries for Linux, macOS, Windows and Android.`,
      { cause },
    )
  }
}

function malformed(problem: string, cause: unknown): InputError {
  const reason = (cause as Error).message.replace(/ at line \d+ column \d+$/, '').replace(/\.$/, '')
  return new InputError('malformed-tokenizer', `${problem}: ${reason}.`, { cause })
}

/** The library's result for a text, declared here since the library's own declarations do not compile. */
interface LibraryEncoding {
  getIds(): number[]
  charToToken(place: number): number | null | undefined
  tokenToChars(token: number): [start: number, end: number] | null | undefined
}

/**
 * An encoded text. The place of a token is looked up when it is asked for: a list of all places takes as long as encoding. White
 * space that an added token strips is not part of its place.
 */
export class EncodedText implements TokenPlaces {
  readonly ids: Int32Array
  readonly #text: string
  readonly #encoding: LibraryEncoding
  readonly #added: ReadonlyMap<number, string>
  /** The place of each character in UTF-16 units; null if every character is one unit. */
  #units: readonly number[] | null | undefined

  constructor(text: string, encoding: LibraryEncoding, added: ReadonlyMap<number, string>) {
    this.ids = Int32Array.from(encoding.getIds())
    this.#text = text
    this.#encoding = encoding
    this.#added = added
  }

  startOf(token: number): number {
    return this.#placeOf(token)[0]
  }

  endOf(token: number): number {
    return this.#placeOf(token)[1]
  }

  near(place: number): number | undefined {
    this.#units ??= unitsBefore(this.#text)
    return this.#units ? undefined : (this.#encoding.charToToken(place) ?? undefined)
  }

  #placeOf(token: number): readonly [start: number, end: number] {
    const [first, last] = this.#encoding.tokenToChars(token)!
    const [start, end] = [this.#unit(first), this.#unit(last)]
    const added = this.#added.get(this.ids[token]!)
    if (added === undefined) return [start, end]
    const at = this.#text.indexOf(added, start)
    return at >= 0 && at + added.length <= end ? [at, at + added.length] : [start, end]
  }

  #unit(character: number): number {
    this.#units ??= unitsBefore(this.#text)
    return this.#units?.[character] ?? character
  }
}

/** The ids of a text, and where each token begins and ends. */
export interface Encoded {
  ids: Int32Array
  starts?: Int32Array
  ends?: Int32Array
}

/** Returns the result of a task. */
export function encodedOf({ places }: Encoding, encoded: EncodedText): Encoded {
  const { ids } = encoded
  if (!places) return { ids }
  return { ids, starts: ids.map((_, i) => encoded.startOf(i)), ends: ids.map((_, i) => encoded.endOf(i)) }
}

function unitsBefore(text: string): number[] | null {
  if (!/[\ud800-\udbff][\udc00-\udfff]/.test(text)) return null
  const units = [0]
  for (const character of text) units.push(units.at(-1)! + character.length)
  return units
}
