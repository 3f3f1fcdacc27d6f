import { setImmediate } from 'node:timers/promises'

/** Time that work takes at most before other work of the process has its turn [ms]. */
const MOST_MILLISECONDS = 5

/** Long work in pieces, between which other work of the process has its turn. */
export class LoopTurn {
  #began = performance.now()

  /** Lets other work have its turn if this one has taken long. */
  async end(): Promise<void> {
    if (performance.now() - this.#began < MOST_MILLISECONDS) return
    await setImmediate()
    this.#began = performance.now()
  }
}
