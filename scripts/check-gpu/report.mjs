import { keep } from '../../bench/common/keep.mjs'

/** The report, on disk after everything that is learnt: whatever ends the check, what it found until then is there. */
export class Report {
  #path
  #content

  constructor(path, facts) {
    this.#path = path
    this.#content = { ...facts, parts: [] }
  }

  get parts() {
    return this.#content.parts
  }

  /** Adds what is known of a part, or replaces it. */
  set(name, seconds, result) {
    const part = { name, seconds, ...result }
    const at = this.parts.findIndex((one) => one.name === name)
    if (at < 0) this.parts.push(part)
    else this.parts[at] = part
    keep(this.#path, this.#content)
  }
}
