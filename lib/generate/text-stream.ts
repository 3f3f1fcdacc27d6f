import type { Tokenizer } from '../data/tokenizer/tokenizer.js'

/** Tokens of the prompt that are decoded again beside the first new ones: spaces depend on what comes before. */
const CONTEXT = 6
/** What an unfinished character decodes to. */
const UNFINISHED = '\ufffd'

/**
 * Token ids to text, piece by piece. A character whose bytes are spread over several tokens is held back until it is
 * whole. Control tokens have no text.
 */
export class TextStream {
  readonly #ids: number[]
  /** Tokens before `#start` are not decoded any more; those before `#told` were given out. */
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

  /** The text that this token completes; empty while a character is not whole. */
  push(id: number): string {
    this.#ids.push(id)
    const { before, all } = this.#decoded()
    if (all.endsWith(UNFINISHED) || all.length <= before.length) return ''
    this.#start = this.#told
    this.#told = this.#ids.length
    return all.slice(before.length)
  }

  /** What was held back. */
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

/** The text of `ids` that go on after `prompt`. */
export function continuationText(
  tokenizer: Pick<Tokenizer, 'decode'>,
  prompt: readonly number[],
  ids: readonly number[],
): string {
  const stream = new TextStream(tokenizer, prompt)
  return ids.map((id) => stream.push(id)).join('') + stream.end()
}
