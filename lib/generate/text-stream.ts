import type { Tokenizer } from '../data/tokenizer/tokenizer.js'

/** Tokens of the prompt that are decoded with the first new ones, because spaces depend on the text before. */
const CONTEXT = 6
/** The text of an incomplete character. */
const UNFINISHED = '\ufffd'

/**
 * Turns token ids into text, piece by piece. A character whose bytes are spread over several tokens is held back until it
 * is complete. Control tokens have no text.
 */
export class TextStream {
  readonly #ids: number[]
  /** Tokens before `#start` are no longer decoded; the text of those before `#returned` was returned. */
  #start = 0
  #returned: number
  /** The text of the tokens from `#start` to `#returned`. */
  #before: Promise<string> | undefined

  /** @param prompt ids before the generated ones */
  constructor(
    readonly tokenizer: Pick<Tokenizer, 'decode'>,
    prompt: readonly number[],
  ) {
    this.#ids = prompt.slice(-CONTEXT)
    this.#returned = this.#ids.length
  }

  /** Adds a token and returns the text that it completes; empty while a character is incomplete. */
  async push(id: number): Promise<string> {
    this.#ids.push(id)
    const { before, all } = await this.#decoded()
    if (all.endsWith(UNFINISHED) || all.length <= before.length) return ''
    this.#turn()
    return all.slice(before.length)
  }

  /** Returns the text that was held back. */
  async end(): Promise<string> {
    const { before, all } = await this.#decoded()
    this.#turn()
    return all.slice(before.length)
  }

  #turn(): void {
    this.#start = this.#returned
    this.#returned = this.#ids.length
    this.#before = undefined
  }

  async #decoded(): Promise<{ before: string; all: string }> {
    const decode = (end: number) =>
      this.tokenizer.decode(this.#ids.slice(this.#start, end), { skipSpecialTokens: true })
    this.#before ??= decode(this.#returned)
    const [before, all] = await Promise.all([this.#before, decode(this.#ids.length)])
    return { before, all }
  }
}

/** Returns the text of `ids`, which continue `prompt`. */
export async function continuationText(
  tokenizer: Pick<Tokenizer, 'decode'>,
  prompt: readonly number[],
  ids: readonly number[],
): Promise<string> {
  const stream = new TextStream(tokenizer, prompt)
  let text = ''
  for (const id of ids) text += await stream.push(id)
  return text + (await stream.end())
}
