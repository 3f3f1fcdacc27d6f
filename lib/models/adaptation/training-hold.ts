import { AsyncLocalStorage } from 'node:async_hooks'
import { UsageError } from '../../common/errors.js'
import { withRecording } from '../../tensor/tape.js'

/** Keeps others from changing a model while a run trains it. */
export class TrainingHold {
  #isHeld = false
  /** Whether the running code is the holder's own, whatever else happens while it waits. */
  readonly #isHolder = new AsyncLocalStorage<true>()
  #stop: (() => void) | null = null
  /** Called once the model is released. */
  #waiting: (() => void)[] = []

  /** Takes the model for one run. @throws UsageError `in-training` if a run already holds it */
  begin(): void {
    this.requireNone('a second run would train the same model')
    this.#isHeld = true
  }

  /** Runs the holder's own work that adds or restarts adapters. */
  change<Value>(work: () => Promise<Value>): Promise<Value> {
    return this.#isHolder.run(true, work)
  }

  /** Sets the function that asks the run to end, for when the model is disposed of. */
  onDispose(stop: () => void): void {
    this.#stop = stop
  }

  /** Runs the work at once, or asks the run that holds the model to end and runs it then; resolves when that is done. */
  afterRun(work: () => void): Promise<void> {
    if (!this.#isHeld) {
      work()
      return Promise.resolve()
    }
    const done = new Promise<void>((resolve, reject) => {
      this.#waiting.push(() => {
        try {
          work()
          resolve()
        } catch (error) {
          reject(error)
        }
      })
    })
    this.#stop?.()
    return done
  }

  /** Runs a part of a pass that is not the run's: while a run holds the model, no gradients of others may reach its parameters. */
  outside<Result>(part: () => Result): Result {
    return this.#isHeld ? withRecording(false, part) : part()
  }

  /** Releases the model. */
  end(): void {
    this.#isHeld = false
    this.#isHolder.disable() // or every later promise of the process would carry it
    this.#stop = null
    const waiting = this.#waiting
    this.#waiting = []
    for (const work of waiting) work()
  }

  /** Whether a run holds the model. */
  get isHeld(): boolean {
    return this.#isHeld
  }

  /** Whether a run holds the model, and the running code is not its own. */
  get isOthers(): boolean {
    return this.#isHeld && !this.#isHolder.getStore()
  }

  /** Like `requireNone`, for changes that the holding run itself may make. */
  requireNoOther(what: string): void {
    if (this.isOthers) this.requireNone(what)
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
