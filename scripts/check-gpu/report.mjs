import { keep } from '../../bench/common/keep.mjs'

/** The report, saved after every finding: however the check ends, its findings until then are on disk. */
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

  /** Adds or replaces the findings of a part. */
  set(name, seconds, result) {
    const part = { name, seconds, ...result }
    const at = this.parts.findIndex((one) => one.name === name)
    if (at < 0) this.parts.push(part)
    else this.parts[at] = part
    keep(this.#path, this.#content)
  }
}
