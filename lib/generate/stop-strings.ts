/** Ends a text that comes in pieces before the first of some strings. */
export class StopStrings {
  #held = ''
  #found = false

  constructor(readonly stops: readonly string[]) {}

  /** Whether one of the strings came; from then on no text is handed out. */
  get found(): boolean {
    return this.#found
  }

  /** Returns the text that cannot be the beginning of a stop string. */
  push(piece: string): string {
    const text = this.#held + piece
    const places = this.stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0)
    if (places.length > 0) {
      this.#found = true
      this.#held = ''
      return text.slice(0, Math.min(...places))
    }
    const safe = text.length - Math.max(0, ...this.stops.map((stop) => overlap(text, stop)))
    this.#held = text.slice(safe)
    return text.slice(0, safe)
  }

  /** Returns the text that was held back. */
  end(): string {
    const held = this.#held
    this.#held = ''
    return held
  }
}

/** Length of the longest suffix of `text` that is a prefix of `stop`. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length
  }
  return 0
}
