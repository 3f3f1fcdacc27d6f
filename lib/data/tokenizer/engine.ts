/**
 * Hugging Face's tokenizers library, a binding of its Rust library. Failures inside it end the process: regular expressions
 * that backtrack too much, parts that contradict each other. So it runs in an isolated process.
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

export interface Decoding {
  asks: 'decoded'
  ids: readonly number[]
}

/** `added` asks for the ids of the added tokens; null for those that the library does not accept. */
export type TokenizerTask = { asks: 'added' } | Encoding | Decoding

/** Token ids, with the part of the text of each, in UTF-16 units. */
export interface Encoded {
  ids: Int32Array
  starts?: Int32Array
  ends?: Int32Array
}

/** A tokenizer of the library. */
export class TokenizerEngine {
  readonly #tokenizer: Library.Tokenizer
  readonly #definition: TokenizerDefinition

  private constructor(tokenizer: Library.Tokenizer, definition: TokenizerDefinition) {
    this.#tokenizer = tokenizer
    this.#definition = definition
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
    if (task.asks === 'encoded') return (await this.encode([task]))[0]
    if (task.asks === 'decoded') return this.#decode(task)
    return this.#definition.added.map((token) => this.#tokenizer.tokenToId(token))
  }

  /** @throws InputError `malformed-tokenizer` if one of the texts cannot be encoded */
  async encode(texts: readonly Encoding[]): Promise<Encoded[]> {
    const options = { addSpecialTokens: false }
    try {
      const encodings = await this.#tokenizer.encodeBatch(
        texts.map(({ text }) => text),
        options,
      )
      return encodings.map((encoding, i) => ({
        ids: Int32Array.from(encoding.getIds()),
        ...(texts[i]!.places && placesOf(texts[i]!.text, encoding.getOffsets())),
      }))
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

/** @param offsets of tokens, in Unicode characters */
function placesOf(text: string, offsets: readonly (readonly number[])[]): { starts: Int32Array; ends: Int32Array } {
  const units = unitsBefore(text)
  const unit = (character: number) => units?.[character] ?? character
  return {
    starts: Int32Array.from(offsets, ([start]) => unit(start!)),
    ends: Int32Array.from(offsets, ([, end]) => unit(end!)),
  }
}

/** Returns the place of each character in UTF-16 units; undefined if all characters have one. */
function unitsBefore(text: string): number[] | undefined {
  if (!/[\ud800-\udbff][\udc00-\udfff]/.test(text)) return undefined
  const units = [0]
  for (const character of text) units.push(units.at(-1)! + character.length)
  return units
}
