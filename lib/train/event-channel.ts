/** Maximum number of events that are kept until a reader comes. */
const KEPT_BEFORE_READER = 1000

/**
 * Passes events from a producer to at most one reader. With a reader the two alternate: `send` resolves when the reader asks
 * for the next event, so a loop body never runs beside a training step. Without a reader, `send` never waits.
 */
export class EventChannel<Event> implements AsyncIterator<Event, void> {
  readonly #events: Event[] = []
  readonly #onLeave: () => Promise<void>
  #waitingReader: { resolve(result: IteratorResult<Event, void>): void; reject(error: unknown): void } | null = null
  #waitingSender: (() => void) | null = null
  #attached = false
  #freeRunning = false
  #closed = false
  #failure: { error: unknown } | null = null

  /** @param onLeave called when the reader leaves its loop early, which waits for it */
  constructor(onLeave: () => Promise<void>) {
    this.#onLeave = onLeave
  }

  /** Returns true for the first reader; further readers are not allowed. */
  attach(): boolean {
    if (this.#attached) return false
    this.#attached = true
    return true
  }

  send(event: Event): Promise<void> {
    if (this.#waitingReader) {
      this.#waitingReader.resolve({ done: false, value: event })
      this.#waitingReader = null
    } else {
      this.#events.push(event)
      if (!this.#attached && this.#events.length > KEPT_BEFORE_READER) this.#events.shift()
    }
    if (!this.#attached || this.#freeRunning) return Promise.resolve()
    return new Promise((resolve) => {
      this.#waitingSender = resolve
    })
  }

  /** Makes all further calls of `send` return without waiting. */
  runFreely(): void {
    this.#freeRunning = true
    this.#releaseSender()
  }

  /** Ends the events; with a failure, the reader's loop throws it after the events sent before. */
  close(failure?: { error: unknown }): void {
    this.#closed = true
    this.#failure = failure ?? null
    if (!this.#waitingReader) return
    const reader = this.#waitingReader
    this.#waitingReader = null
    this.#finish(reader)
  }

  next(): Promise<IteratorResult<Event, void>> {
    const event = this.#events.shift()
    if (event !== undefined) return Promise.resolve({ done: false, value: event })
    return new Promise((resolve, reject) => {
      const reader = { resolve, reject }
      if (this.#closed) {
        this.#finish(reader)
        return
      }
      this.#waitingReader = reader
      this.#releaseSender()
    })
  }

  async return(): Promise<IteratorResult<Event, void>> {
    this.runFreely()
    await this.#onLeave()
    return { done: true, value: undefined }
  }

  #releaseSender(): void {
    this.#waitingSender?.()
    this.#waitingSender = null
  }

  #finish(reader: { resolve(result: IteratorResult<Event, void>): void; reject(error: unknown): void }): void {
    if (this.#failure) {
      const { error } = this.#failure
      this.#failure = null
      reader.reject(error)
    } else {
      reader.resolve({ done: true, value: undefined })
    }
  }
}
