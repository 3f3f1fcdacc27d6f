/** Requests in progress: limits of their number and time, and their end. */
import { ApiError } from './api-error.js'
import { clientOf } from './clients.js'
import type { ServerMetrics } from './metrics.js'
import type { ServedAdapters } from './served-adapters.js'

interface RequestLimits {
  /** Maximum number of running and waiting completions. */
  texts: number
  /** Seconds that a request may take. */
  timeout: number
}

/** A request in progress. Its signal cancels all work for it. */
export class ActiveRequest {
  readonly #ending = new AbortController()
  readonly #start = performance.now()
  readonly #end: () => void
  #hasBegun = false
  #isOver = false
  #wasAborted = false
  /** Number of incomplete texts. */
  #incomplete: number

  constructor(
    /** The requested name and adapters. */
    readonly used: ReturnType<ServedAdapters['use']>,
    /** Number of texts to generate. */
    texts: number,
    readonly metrics: ServerMetrics,
    request: AbortSignal,
    timeout: number,
    readonly onFree: (active: ActiveRequest, texts: number) => void,
    onEnd: (active: ActiveRequest) => void,
  ) {
    this.#incomplete = texts
    const cancel = () => this.cancel()
    const timer = setTimeout(() => this.abort(tookTooLong(timeout)), timeout * 1000)
    this.#end = () => {
      clearTimeout(timer)
      request.removeEventListener('abort', cancel)
      onEnd(this)
    }
    request.addEventListener('abort', cancel)
    if (request.aborted) cancel()
  }

  get signal(): AbortSignal {
    return this.#ending.signal
  }

  /** Whether all texts are complete, and the client may still be reading. */
  get isComplete(): boolean {
    return this.#incomplete === 0 && !this.#isOver
  }

  /** Whether the request was cancelled before its end. */
  get wasAborted(): boolean {
    return this.#wasAborted
  }

  abort(reason: unknown): void {
    this.#wasAborted ||= !this.#isOver
    this.#ending.abort(reason)
  }

  /** Cancels the request, whose client has left. */
  cancel(): void {
    this.abort(clientLeft())
  }

  /** Records the time to the first token. */
  begin(): void {
    if (!this.#hasBegun) this.metrics.firstToken.observe(this.#seconds)
    this.#hasBegun = true
  }

  /** Frees the slots of complete texts, and the adapters after the last one. */
  free(texts = 1): void {
    if (this.#incomplete === 0) return
    this.#incomplete -= texts
    this.onFree(this, texts)
    if (this.#incomplete > 0) return
    this.metrics.duration.observe(this.#seconds)
    this.used.release()
  }

  /** Ends the request, and work that may still run for it. */
  end(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.free(this.#incomplete)
    this.#end()
    this.#ending.abort()
  }

  get #seconds(): number {
    return (performance.now() - this.#start) / 1000
  }
}

const tookTooLong = (seconds: number) =>
  new ApiError(503, `The request took more than ${seconds} seconds.`, {
    code: 'timeout',
    headers: { 'x-should-retry': 'false' },
  })

const readTooSlowly = () =>
  new ApiError(503, 'The response was not read while many others were completed.', { code: 'unread' })

/** Returns the error for a request whose client has left. */
export const clientLeft = (): ApiError => new ApiError(499, 'The client left.', { code: 'client_left' })

/** Returns the error for a request to a server that is closing. */
export const serverEnds = (): ApiError => new ApiError(503, 'The server is ending.', { code: 'closing', retryAfter: 5 })

export class ActiveRequests {
  readonly #requests = new Set<ActiveRequest>()
  /** Complete requests, oldest first. Their unread events take memory, so their number has the limit of texts too. */
  readonly #complete = new Set<ActiveRequest>()
  #texts = 0
  #isClosing = false
  #onLast = () => {}

  constructor(
    readonly adapters: ServedAdapters,
    readonly metrics: ServerMetrics,
    readonly limits: RequestLimits,
  ) {}

  get isClosing(): boolean {
    return this.#isClosing
  }

  /**
   * Admits a request, unless the limit of completions is reached, once its adapter is loaded.
   * @param model the model's name in the request
   * @throws what loading throws; UsageError for an unknown model; ApiError 429 if too many completions are waiting, 503 if the server ends
   */
  async admit(model: string | undefined, texts: number, request: Request): Promise<ActiveRequest> {
    const client = clientOf(request)
    await this.adapters.loadFor(model, client)
    if (this.#isClosing) throw serverEnds()
    const limit = this.limits.texts
    if (texts > limit) {
      throw new ApiError(400, `Too many completions: ${texts} requested, the limit is ${limit}.`, {
        code: 'too_many_texts',
      })
    }
    const used = this.adapters.use(model, client)
    if (this.#texts + texts > limit) {
      used.release()
      const retryAfter = Math.min(60, Math.max(1, Math.ceil(this.metrics.duration.mean)))
      throw new ApiError(429, 'Too many requests are waiting.', { code: 'rate_limit_exceeded', retryAfter })
    }
    const { metrics, limits } = this
    const active = new ActiveRequest(
      used,
      texts,
      metrics,
      request.signal,
      limits.timeout,
      (freed, count) => this.#free(freed, count),
      (ended) => this.#remove(ended),
    )
    this.#requests.add(active)
    this.#texts += texts
    return active
  }

  #free(active: ActiveRequest, texts: number): void {
    this.#texts -= texts
    if (!active.isComplete) return
    this.#complete.add(active)
    const [oldest] = this.#complete
    if (this.#complete.size > this.limits.texts) oldest!.abort(readTooSlowly())
  }

  #remove(active: ActiveRequest): void {
    this.#requests.delete(active)
    this.#complete.delete(active)
    if (this.#requests.size === 0) this.#onLast()
  }

  /** Refuses further requests, waits `grace` seconds for those in progress, and then cancels them. */
  async close(grace: number): Promise<void> {
    this.#isClosing = true
    if (this.#requests.size === 0) return
    let timer: NodeJS.Timeout | undefined
    const last = new Promise<void>((resolve) => {
      this.#onLast = resolve
    })
    const enough = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, grace * 1000)
    })
    await Promise.race([last, enough])
    clearTimeout(timer)
    for (const active of this.#requests) active.abort(serverEnds())
    if (this.#requests.size > 0) await last
  }
}
