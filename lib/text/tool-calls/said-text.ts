/** Text that is passed on in pieces. White space at seams, where tags were removed, is dropped or joins two parts. */
export class SaidText {
  #isEmpty = true
  #isAtSeam = false
  /** White space that is passed on when text follows. */
  #space = ''

  /** Whether the text has only white space so far. */
  get isEmpty(): boolean {
    return this.#isEmpty
  }

  /** Adds text and returns the part that can be passed on. */
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

  /** Marks the place of a removed tag. */
  seam(): void {
    this.#isAtSeam = true
  }

  /** Ends the text and returns the part that was held back. */
  end(): string {
    return this.#isAtSeam ? '' : this.#space
  }
}
