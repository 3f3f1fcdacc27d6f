import { UsageError } from '../../common/errors.js'

/** A model that one run holds. */
export interface HeldModel {
  /** Runs the holder's own work that adds or restarts adapters. */
  change<Value>(work: () => Promise<Value>): Promise<Value>
  /** Releases the model. */
  end(): void
}

/** Keeps others from changing a model while a run trains it. */
export class TrainingHold implements HeldModel {
  #isHeld = false
  #isChanging = false

  /** Takes the model for one run. @throws UsageError `in-training` if a run already holds it */
  begin(): HeldModel {
    this.requireNone('a second run would train the same model')
    this.#isHeld = true
    return this
  }

  async change<Value>(work: () => Promise<Value>): Promise<Value> {
    this.#isChanging = true
    try {
      return await work()
    } finally {
      this.#isChanging = false
    }
  }

  end(): void {
    this.#isHeld = false
  }

  /** Like `requireNone`, for changes that the holding run itself may make. */
  requireNoOther(what: string): void {
    if (!this.#isChanging) this.requireNone(what)
  }

  /**
   * Throws while a run holds the model; `what` is a clause that names the change.
   * @throws UsageError `in-training`
   */
  requireNone(what: string): void {
    if (!this.#isHeld) return
    throw new UsageError(
      'in-training',
      `A run trains the model, and ${what}: wait for its end (await run.finished), or stop it (await run.stop()).`,
    )
  }
}
