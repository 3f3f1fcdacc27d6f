import { UsageError } from '../../common/errors.js'

/** The rights of a run on a model that it holds. */
export interface HeldForTraining {
  /** Does work of the run itself that adds adapters, or starts them again. */
  change<Value>(work: () => Promise<Value>): Promise<Value>
  /** Lets the model go. */
  end(): void
}

/** While a run trains a model, nobody else changes what it trains. */
export class TrainingHold {
  #isHeld = false
  #isChanging = false

  /** @throws UsageError `in-training` when a run holds the model already */
  begin(): HeldForTraining {
    this.requireNone('a second run would train the same model')
    this.#isHeld = true
    return {
      change: async (work) => {
        this.#isChanging = true
        try {
          return await work()
        } finally {
          this.#isChanging = false
        }
      },
      end: () => {
        this.#isHeld = false
      },
    }
  }

  /** Like `requireNone`, of what runs do too, to a model that they hold. */
  requireNoOther(what: string): void {
    if (!this.#isChanging) this.requireNone(what)
  }

  /**
   * Refuses what would change the model under a run; `what` says what that is.
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
