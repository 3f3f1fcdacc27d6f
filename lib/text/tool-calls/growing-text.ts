/** A text that arrives in pieces, and generators that read it. */

/** A part of reading, which yields whenever it needs more text. */
export type Reading<T> = Generator<void, T>

/** The error that ends an attempt to read a call. */
export class NotACall extends Error {}

/** The known text of an answer, and the place of reading. */
export class GrowingText {
  #text = ''
  /** The place of reading. */
  at = 0
  /** Whether the text is complete. */
  hasEnded = false

  add(piece: string): void {
    this.#text += piece
  }

  /** Drops the text before the place, if reading never returns to it. */
  forget(): void {
    this.#text = this.#text.slice(this.at)
    this.at = 0
  }

  /** The known text from the place on. */
  get rest(): string {
    return this.#text.slice(this.at)
  }

  /** Returns the text from a place up to this one. */
  since(start: number): string {
    return this.#text.slice(start, this.at)
  }

  /** Reads and returns at most this many characters of the known text. */
  take(characters: number): string {
    const taken = this.#text.slice(this.at, this.at + characters)
    this.at += taken.length
    return taken
  }

  /** Reads and returns the known text up to the first of these tags or a possible beginning of one. */
  plain(tags: readonly string[]): string {
    const { rest } = this
    const starts = tags.map((tag) => {
      const found = rest.indexOf(tag)
      if (found >= 0) return found
      let length = Math.min(tag.length - 1, rest.length)
      while (!rest.endsWith(tag.slice(0, length))) length--
      return rest.length - length
    })
    return this.take(Math.min(rest.length, ...starts))
  }

  /** Waits for more text; returns false at the end. */
  *more(): Reading<boolean> {
    const { length } = this.#text
    while (this.#text.length === length && !this.hasEnded) yield
    return this.#text.length > length
  }

  /**
   * Reads `literal` if it comes next, and returns whether it does; at the end of the text a beginning of it is enough if
   * `isLast`.
   */
  *has(literal: string, isLast = false): Reading<boolean> {
    for (;;) {
      const known = this.#text.slice(this.at, this.at + literal.length)
      if (!literal.startsWith(known)) return false
      if (known === literal || !(yield* this.more())) {
        if (known !== literal && !isLast) return false
        this.at += known.length
        return true
      }
    }
  }

  /** Reads `literal`. */
  *expect(literal: string): Reading<void> {
    if (!(yield* this.has(literal))) throw new NotACall()
  }

  /** Reads and returns the match of a sticky pattern, which may be empty. */
  *run(pattern: RegExp): Reading<string> {
    const start = this.at
    for (;;) {
      pattern.lastIndex = this.at
      this.at += pattern.exec(this.#text)?.[0].length ?? 0
      if (this.at < this.#text.length || !(yield* this.more())) return this.since(start)
    }
  }

  /** Reads past `literal`, and returns the text before it. */
  *until(literal: string): Reading<string> {
    const start = this.at
    for (let from = start; ; ) {
      const found = this.#text.indexOf(literal, from)
      if (found >= 0) {
        this.at = found + literal.length
        return this.#text.slice(start, found)
      }
      from = Math.max(start, this.#text.length - literal.length + 1)
      if (!(yield* this.more())) throw new NotACall()
    }
  }

  /** Whether the text ends here. */
  *isAtEnd(): Reading<boolean> {
    return this.at === this.#text.length && !(yield* this.more())
  }
}

/** White space in calls and around them. */
export const SPACE = /[ \t\r\n]*/y
