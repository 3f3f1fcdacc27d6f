import type { Tokenizer } from '../data/tokenizer/tokenizer.js'

/** Tokens of the prompt that are decoded again with the first new ones, because spaces depend on what comes before. */
const CONTEXT = 6
/** What an unfinished character decodes to. */
const UNFINISHED = '\ufffd'

/**
 * Turns token ids into text, piece by piece. A character whose bytes are spread over several tokens is held back until it
 * is complete. Control tokens have no text.
 */
export class TextStream {
  readonly #ids: number[]
  /** Tokens before `#start` are no longer decoded; those before `#told` were handed out. */
  #start = 0
  #told: number

  /** @param prompt ids that come before */
  constructor(
    readonly tokenizer: Pick<Tokenizer, 'decode'>,
    prompt: readonly number[],
  ) {
    this.#ids = prompt.slice(-CONTEXT)
    this.#told = this.#ids.length
  }

  /** The text that this token completes; empty while a character is incomplete. */
  push(id: number): string {
    this.#ids.push(id)
    const { before, all } = this.#decoded()
    if (all.endsWith(UNFINISHED) || all.length <= before.length) return ''
    this.#start = this.#told
    this.#told = this.#ids.length
    return all.slice(before.length)
  }

  /** Returns the text that was held back. */
  end(): string {
    const { before, all } = this.#decoded()
    this.#start = this.#told
    this.#told = this.#ids.length
    return all.slice(before.length)
  }

  #decoded(): { before: string; all: string } {
    const decode = (end: number) =>
      this.tokenizer.decode(this.#ids.slice(this.#start, end), { skipSpecialTokens: true })
    return { before: decode(this.#told), all: decode(this.#ids.length) }
  }
}

/** The text of `ids`, which continue `prompt`. */
export function continuationText(
  tokenizer: Pick<Tokenizer, 'decode'>,
  prompt: readonly number[],
  ids: readonly number[],
): string {
  const stream = new TextStream(tokenizer, prompt)
  return ids.map((id) => stream.push(id)).join('') + stream.end()
}
