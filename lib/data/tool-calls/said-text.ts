/** A text that is passed on piece by piece. Its white space at seams, where tags stand, is dropped or joins two parts. */
export class SaidText {
  #isEmpty = true
  #isAtSeam = false
  /** White space that is passed on when text follows. */
  #space = ''

  /** Whether nothing but white space was said. */
  get isEmpty(): boolean {
    return this.#isEmpty
  }

  /** Adds text and returns what can be passed on. */
  write(text: string): string {
    const said = this.#isAtSeam ? text.replace(/^[ \t\r\n]+/, '') : text
    const kept = said.replace(/[ \t\r\n]+$/, '')
    if (this.#isAtSeam && said !== '') {
      this.#space = this.#isEmpty ? '' : this.#space || '\n'
      this.#isAtSeam = false
    }
    if (kept === '') {
      this.#space += said
      return ''
    }
    const passed = this.#space + kept
    this.#space = said.slice(kept.length)
    this.#isEmpty = false
    return passed
  }

  /** Notes that a tag stands here. */
  seam(): void {
    this.#isAtSeam = true
  }

  /** Ends the text and returns what was held back. */
  end(): string {
    return this.#isAtSeam ? '' : this.#space
  }
}
