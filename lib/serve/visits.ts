/** Requests that are being answered: how many there may be, how long they may take, and how they end. */
import { ApiError } from './api-error.js'
import type { ServerMetrics } from './metrics.js'
import type { ServedAdapters } from './served-adapters.js'

interface VisitLimits {
  /** The most texts that are written or wait at once. */
  texts: number
  /** Seconds that a request may take. */
  timeout: number
}

/** A request that is being answered. Its signal ends all that is done for it. */
export class Visit {
  readonly #ending = new AbortController()
  readonly #start = performance.now()
  readonly #end: () => void
  #hasBegun = false
  #isOver = false
  #wasAborted = false
  /** Number of texts that are not whole. */
  #unwritten: number

  constructor(
    /** The model's name and adapters that it asked for. */
    readonly used: ReturnType<ServedAdapters['use']>,
    /** Number of texts that are written. */
    texts: number,
    readonly metrics: ServerMetrics,
    request: AbortSignal,
    timeout: number,
    readonly onFree: (visit: Visit, texts: number) => void,
    onEnd: (visit: Visit) => void,
  ) {
    this.#unwritten = texts
    const leave = () => this.leave()
    const timer = setTimeout(() => this.abort(tookTooLong(timeout)), timeout * 1000)
    this.#end = () => {
      clearTimeout(timer)
      request.removeEventListener('abort', leave)
      onEnd(this)
    }
    request.addEventListener('abort', leave)
    if (request.aborted) leave()
  }

  get signal(): AbortSignal {
    return this.#ending.signal
  }

  /** Whether all texts are whole, and their client may still be reading. */
  get isWritten(): boolean {
    return this.#unwritten === 0 && !this.#isOver
  }

  /** Whether it was ended before it was over. */
  get wasAborted(): boolean {
    return this.#wasAborted
  }

  abort(reason: unknown): void {
    this.#wasAborted ||= !this.#isOver
    this.#ending.abort(reason)
  }

  /** Cancels abandoned requests. */
  leave(): void {
    this.abort(clientLeft())
  }

  /** Notes that the first piece of the answer is there. */
  begin(): void {
    if (!this.#hasBegun) this.metrics.firstToken.observe(this.#seconds)
    this.#hasBegun = true
  }

  /** Frees the places of texts that are whole, and the adapters after the last one. */
  free(texts = 1): void {
    if (this.#unwritten === 0) return
    this.#unwritten -= texts
    this.onFree(this, texts)
    if (this.#unwritten > 0) return
    this.metrics.duration.observe(this.#seconds)
    this.used.release()
  }

  /** Ends the visit, and what may still be done for it. */
  end(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.free(this.#unwritten)
    this.#end()
    this.#ending.abort()
  }

  get #seconds(): number {
    return (performance.now() - this.#start) / 1000
  }
}

const tookTooLong = (seconds: number) =>
  new ApiError(503, `The answer took more than ${seconds} seconds.`, {
    code: 'timeout',
    headers: { 'x-should-retry': 'false' },
  })

const readTooSlowly = () =>
  new ApiError(503, 'The answer was not read while the texts of many others became whole.', { code: 'unread' })

/** Makes the error for a request whose client waits no more. */
export const clientLeft = (): ApiError => new ApiError(499, 'The client left.', { code: 'client_left' })

/** Makes the error for a request that comes too late. */
export const serverEnds = (): ApiError => new ApiError(503, 'The server is ending.', { code: 'closing', retryAfter: 5 })

export class Visits {
  readonly #visits = new Set<Visit>()
  /** Visits whose texts are whole, oldest first. Their unread events take memory, so they are as many as texts may be. */
  readonly #written = new Set<Visit>()
  #texts = 0
  #isClosing = false
  #onLast = () => {}

  constructor(
    readonly adapters: ServedAdapters,
    readonly metrics: ServerMetrics,
    readonly limits: VisitLimits,
  ) {}

  get isClosing(): boolean {
    return this.#isClosing
  }

  /**
   * Begins to answer a request.
   * @param model the model's name in the request
   * @throws UsageError for an unknown model; ApiError 429 if too many texts are waiting, 503 if the server ends
   */
  enter(model: string | undefined, texts: number, request: Request): Visit {
    if (this.#isClosing) throw serverEnds()
    const most = this.limits.texts
    if (texts > most) {
      throw new ApiError(400, `Too many completions: ${texts} requested, the limit is ${most}.`, {
        code: 'too_many_texts',
      })
    }
    const used = this.adapters.use(model)
    if (this.#texts + texts > most) {
      used.release()
      const retryAfter = Math.min(60, Math.max(1, Math.ceil(this.metrics.duration.mean)))
      throw new ApiError(429, 'Too many requests are waiting.', { code: 'rate_limit_exceeded', retryAfter })
    }
    const { metrics, limits } = this
    const visit = new Visit(
      used,
      texts,
      metrics,
      request.signal,
      limits.timeout,
      (freed, count) => this.#free(freed, count),
      (ended) => this.#leave(ended),
    )
    this.#visits.add(visit)
    this.#texts += texts
    return visit
  }

  #free(visit: Visit, texts: number): void {
    this.#texts -= texts
    if (!visit.isWritten) return
    this.#written.add(visit)
    const [oldest] = this.#written
    if (this.#written.size > this.limits.texts) oldest!.abort(readTooSlowly())
  }

  #leave(visit: Visit): void {
    this.#visits.delete(visit)
    this.#written.delete(visit)
    if (this.#visits.size === 0) this.#onLast()
  }

  /** Begins nothing more, waits so many seconds for what goes on, and then aborts it. */
  async close(grace: number): Promise<void> {
    this.#isClosing = true
    if (this.#visits.size === 0) return
    let timer: NodeJS.Timeout | undefined
    const last = new Promise<void>((resolve) => {
      this.#onLast = resolve
    })
    const enough = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, grace * 1000)
    })
    await Promise.race([last, enough])
    clearTimeout(timer)
    for (const visit of this.#visits) visit.abort(serverEnds())
    if (this.#visits.size > 0) await last
  }
}
