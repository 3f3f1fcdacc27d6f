/** Tells a screen reader an answer in sentences, since single tokens would interrupt each other. */

/** Characters from which on a complete sentence is told. */
const ENOUGH = 160

export class Announcer {
  #rest = ''

  /** @param {(text: string) => void} tell */
  constructor(tell) {
    this.tell = tell
  }

  /** @param {string} text that was added */
  push(text) {
    this.#rest += text
    if (this.#rest.length < ENOUGH) return
    const [whole = ''] = /^.*(?:[.!?…:](?=\s)|[。！？\n])/s.exec(this.#rest) ?? []
    this.#tell(whole)
  }

  /** Tells the rest. */
  end() {
    this.#tell(this.#rest)
  }

  /** @param {string} text a beginning of the rest */
  #tell(text) {
    this.#rest = this.#rest.slice(text.length)
    if (text.trim() !== '') this.tell(text.trim())
  }
}
