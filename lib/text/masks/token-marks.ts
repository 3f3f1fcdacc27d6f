/** Finds added tokens in texts as tokenizers do, from left to right and the longest first, but without a tokenizer. */
import type { Span } from './turn-texts.js'

/** A token that is found in text before anything else is. */
export interface AddedToken {
  text: string
  /** A control token (end of turn, ...), not a user-defined one. */
  isSpecial: boolean
}

export interface Mark extends Span {
  isSpecial: boolean
}

export class TokenMarks {
  readonly #tokens = new Map<string, AddedToken>()
  /** Lengths of tokens by their first character, the longest first. */
  readonly #lengths = new Map<string, number[]>()

  constructor(tokens: readonly AddedToken[]) {
    for (const token of tokens) this.#tokens.set(token.text, token)
    const longestFirst = [...this.#tokens.keys()].filter((text) => text !== '').sort((a, b) => b.length - a.length)
    for (const { 0: first, length } of longestFirst) {
      const lengths = this.#lengths.get(first!) ?? []
      this.#lengths.set(first!, lengths)
      if (lengths.at(-1) !== length) lengths.push(length)
    }
  }

  /** Returns all tokens of a text, in order. */
  of(text: string): Mark[] {
    const marks: Mark[] = []
    for (let start = 0; start < text.length; ) {
      const token = this.#longest(text, start)
      const end = start + (token?.text.length ?? 1)
      if (token) marks.push({ start, end, isSpecial: token.isSpecial })
      start = end
    }
    return marks
  }

  /** Returns the text's last token if only space follows it. */
  last(text: string, { onlySpecial }: { onlySpecial: boolean }): Mark | undefined {
    const mark = this.of(text).findLast(({ isSpecial }) => isSpecial || !onlySpecial)
    return mark && text.slice(mark.end).trim() === '' ? mark : undefined
  }

  /** Returns the special token that begins at a place of a text. */
  specialAt(text: string, start: number): Span | undefined {
    const token = this.#longest(text, start, true)
    return token && { start, end: start + token.text.length }
  }

  #longest(text: string, start: number, onlySpecial = false): AddedToken | undefined {
    for (const length of this.#lengths.get(text[start]!) ?? []) {
      const token = this.#tokens.get(text.slice(start, start + length))
      if (token && (token.isSpecial || !onlySpecial)) return token
    }
    return undefined
  }
}
