/** Reads the JSON of calls that a schema forces, as it grows: one call, or a list of calls. */

/** The beginning of a call, up to the first character of its arguments. */
const BEGINNING = /^[\s[,]*\{\s*"name"\s*:\s*"([^"]*)"\s*,\s*"arguments"\s*:\s*(?=\S)/

/** What a text adds to the calls: the beginning of one with its name, and more of the arguments of the last one. */
export interface CallPiece {
  readonly name?: string
  readonly argumentsText: string
}

export class ForcedCalls {
  /** Text that is not read yet; empty inside of arguments. */
  #pending = ''
  /** Whether the arguments of a call are being read. */
  #isOpen = false
  #depth = 0
  #isText = false
  #isEscaped = false
  #hasBegun = false

  /** Whether the last call is complete. */
  get isComplete(): boolean {
    return this.#hasBegun && !this.#isOpen && !this.#pending.includes('{')
  }

  /** Returns what a text adds. */
  push(text: string): CallPiece[] {
    const pieces: CallPiece[] = []
    let rest = this.#pending + text
    this.#pending = ''
    while (rest !== '') {
      let name: string | undefined
      if (!this.#isOpen) {
        const [beginning, called] = BEGINNING.exec(rest) ?? []
        if (beginning === undefined) {
          this.#pending = rest
          break
        }
        name = called!
        rest = rest.slice(beginning.length)
        this.#isOpen = true
        this.#hasBegun = true
      }
      const end = this.#endOfArguments(rest)
      pieces.push({ ...(name !== undefined && { name }), argumentsText: rest.slice(0, end) })
      // The brace of the call follows its arguments.
      rest = this.#isOpen ? '' : rest.slice(end + 1)
    }
    return pieces
  }

  /** Returns the number of characters that belong to the open arguments, and closes them before the brace that ends the call. */
  #endOfArguments(text: string): number {
    for (let at = 0; at < text.length; at++) {
      const character = text[at]!
      if (this.#isText) {
        if (this.#isEscaped) this.#isEscaped = false
        else if (character === '\\') this.#isEscaped = true
        else if (character === '"') this.#isText = false
      } else if (character === '"') this.#isText = true
      else if (character === '{' || character === '[') this.#depth++
      else if (character === '}' || character === ']') {
        if (this.#depth === 0) {
          this.#isOpen = false
          return at
        }
        this.#depth--
      }
    }
    return text.length
  }
}
