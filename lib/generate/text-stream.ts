import type { TokenBytes, Tokenizer } from '../text/tokenizer.js'

/** The part of a tokenizer that decodes. */
type TextTokenizer = Pick<Tokenizer, 'decode'> & Partial<Pick<Tokenizer, 'tokenBytes' | 'specialIds'>>

/**
 * Turns token ids into text, piece by piece. A character whose bytes are spread over several tokens is held back until it
 * is complete, and only as long as it can be. Control tokens have no text, unless they are kept.
 */
export class TextStream {
  readonly #pieces: BytePieces | DecodedPieces

  /** @param prompt ids before the generated ones */
  constructor(tokenizer: TextTokenizer, prompt: readonly number[], { keepsSpecial = false } = {}) {
    const { tokenBytes, specialIds } = tokenizer
    this.#pieces = tokenBytes
      ? new BytePieces(tokenBytes, keepsSpecial ? undefined : specialIds, prompt)
      : new DecodedPieces(tokenizer, prompt, keepsSpecial)
  }

  /** Adds a token and returns the text that it completes; empty while a character is incomplete. */
  async push(id: number): Promise<string> {
    return this.#pieces.push(id)
  }

  /** Returns the text of an incomplete character. */
  async end(): Promise<string> {
    return this.#pieces.end()
  }
}

/** Tokens of the prompt before the first new ones, on which their text may depend. */
const CONTEXT = 6

/** Text of tokens that each have bytes of their own. */
class BytePieces {
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  readonly #bytesOf: (id: number) => Uint8Array
  /** Whether a space that begins the text is dropped, and there is no text yet. */
  #dropsSpace: boolean

  constructor({ of, dropsSpace }: TokenBytes, specialIds: ReadonlySet<number> | undefined, prompt: readonly number[]) {
    const nothing = new Uint8Array()
    this.#bytesOf = (id) => (specialIds?.has(id) ? nothing : of(id))
    this.#dropsSpace = dropsSpace && !prompt.some((id) => this.#bytesOf(id).length > 0)
    // The answer may complete a character of the prompt.
    for (const id of prompt.slice(-CONTEXT)) this.push(id)
  }

  push(id: number): string {
    const bytes = this.#bytesOf(id)
    const first = this.#dropsSpace && bytes.length > 0
    if (first) this.#dropsSpace = false
    return this.#decoder.decode(first && bytes[0] === 0x20 ? bytes.subarray(1) : bytes, { stream: true })
  }

  end(): string {
    return this.#decoder.decode()
  }
}

/** The text of an incomplete character. */
const UNFINISHED = '\ufffd'

/** Text of tokens that have text only together: the difference that the last tokens make. */
class DecodedPieces {
  readonly #tokenizer: Pick<Tokenizer, 'decode'>
  readonly #ids: number[]
  /** Tokens before `#start` are not decoded again; the text of tokens before `#returned` was returned. */
  #start = 0
  #returned: number
  /** The text of the tokens from `#start` to `#returned`. */
  #before: Promise<string> | undefined

  constructor(
    tokenizer: Pick<Tokenizer, 'decode'>,
    prompt: readonly number[],
    readonly keepsSpecial: boolean,
  ) {
    this.#tokenizer = tokenizer
    this.#ids = prompt.slice(-CONTEXT)
    this.#returned = this.#ids.length
  }

  async push(id: number): Promise<string> {
    this.#ids.push(id)
    const { before, all } = await this.#decoded()
    if (all.endsWith(UNFINISHED) || all.length <= before.length) return ''
    this.#advance()
    return all.slice(before.length)
  }

  async end(): Promise<string> {
    const { before, all } = await this.#decoded()
    this.#advance()
    return all.slice(before.length)
  }

  #advance(): void {
    this.#start = this.#returned
    this.#returned = this.#ids.length
    this.#before = undefined
  }

  async #decoded(): Promise<{ before: string; all: string }> {
    const decode = (end: number) =>
      this.#tokenizer.decode(this.#ids.slice(this.#start, end), { skipSpecialTokens: !this.keepsSpecial })
    this.#before ??= decode(this.#returned)
    const [before, all] = await Promise.all([this.#before, decode(this.#ids.length)])
    return { before, all }
  }
}

/** Returns the text of `ids`, which continue `prompt`. */
export async function continuationText(
  tokenizer: TextTokenizer,
  prompt: readonly number[],
  ids: readonly number[],
): Promise<string> {
  const stream = new TextStream(tokenizer, prompt)
  let text = ''
  for (const id of ids) text += await stream.push(id)
  return text + (await stream.end())
}
