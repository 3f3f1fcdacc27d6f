/** A thread that compiles grammars and follows texts, seen from the outside. */
import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'
import { UsageError } from '../../common/errors.js'
import { reasonOf } from '../../common/foreign-errors.js'
import { threadSeconds } from '../../system/processes.js'
import { HEAP_MEBIBYTES, limits, notCompiled } from './limits.js'
import type { ConstraintSource } from './source.js'
import type { Answer, ThreadTask, Vocabulary, Written } from './thread.js'

/** A thread without work ends after this time [ms]; its grammars are then compiled again. */
const IDLE_MILLISECONDS = 600_000
const TICK_MILLISECONDS = 100

interface Waiting {
  resolve(value: Answered): void
  reject(error: unknown): void
  /** Limit of its time [s]. */
  readonly seconds: number
}

type Answered = Written | number | Int32Array | undefined

let lastNumber = 0
/** Returns a number for a vocabulary, a grammar or a text. */
export const newNumber = (): number => ++lastNumber

export class ConstraintThread {
  readonly #worker: Worker
  readonly #begun = new Int32Array(new SharedArrayBuffer(8))
  /** Tasks without an answer, the oldest first. */
  readonly #waiting: Waiting[] = []
  readonly #outbox: ThreadTask[] = []
  readonly #vocabularies = new Set<number>()
  #clock: NodeJS.Timeout | undefined
  #idle: NodeJS.Timeout | undefined
  #texts = 0
  /** Whether the thread must not compile other grammars. */
  isSpent = false
  /** Whether a task that exceeded its time limit has ended it. */
  isLate = false
  /** Why it has ended. */
  #reason: string | undefined
  readonly #seconds: number

  /** @param options isCommon: it compiles only what another thread has compiled, so its time limit is longer */
  constructor({ isCommon = false } = {}) {
    this.#seconds = isCommon ? 3 * limits.seconds : limits.seconds
    this.#worker = new Worker(createRequire(import.meta.url).resolve('#dist/generate/constraints/thread.js'), {
      workerData: this.#begun,
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MEBIBYTES },
      execArgv: [],
    })
    this.#worker.unref()
    this.#worker.on('message', (answers: readonly Answer[]) => this.#settle(answers))
    this.#worker.on('error', (error) => this.end(endOf(error)))
    this.#worker.on('exit', () => this.end('its thread ended'))
  }

  get isEnded(): boolean {
    return this.#reason !== undefined
  }

  /** Whether no text is open and no task waits. */
  get isIdle(): boolean {
    return this.#texts === 0 && this.#waiting.length === 0
  }

  /**
   * Translates a constraint into a grammar.
   * @throws UsageError `unsupported-constraint`, `malformed-grammar`
   */
  async write(source: ConstraintSource, seconds: number): Promise<Written> {
    return (await this.#ask({ task: 'write', source, mebibytes: limits.mebibytes }, seconds)) as Written
  }

  /**
   * Compiles a constraint, or the grammar that was written for it; returns the milliseconds that it took.
   * @throws UsageError `unsupported-constraint`, `malformed-grammar`
   */
  async compile(
    vocabulary: Vocabulary,
    grammar: number,
    what: { source: ConstraintSource; written?: string | undefined },
    seconds = this.#seconds,
  ): Promise<number> {
    const { number } = vocabulary
    const tokens = this.#vocabularies.has(number) ? {} : { tokens: vocabulary }
    this.#vocabularies.add(number)
    const { mebibytes } = limits
    return (await this.#ask(
      { task: 'compile', vocabulary: number, ...tokens, grammar, ...what, mebibytes },
      seconds,
    )) as number
  }

  forget(grammar: number): void {
    this.#tell({ task: 'forget', grammar })
  }

  /** Begins a text; returns the mask of its first token. */
  open(grammar: number, text: number): Promise<Int32Array> {
    this.#texts++
    return this.#ask({ task: 'open', grammar, text }) as Promise<Int32Array>
  }

  /** Adds a token to a text, or begins it anew; returns the mask of the next one. */
  change(task: { task: 'accept'; text: number; id: number } | { task: 'reset'; text: number }): Promise<Int32Array> {
    return this.#ask(task) as Promise<Int32Array>
  }

  close(text: number): void {
    this.#texts--
    this.#tell({ task: 'close', text })
    this.#watch()
  }

  /** Ends the thread, and rejects its tasks. */
  end(reason: string): void {
    this.#reason ??= reason
    this.isSpent = true
    clearInterval(this.#clock)
    clearTimeout(this.#idle)
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure())
    void this.#worker.terminate()
  }

  #failure(): UsageError {
    return new UsageError('unsupported-constraint', notCompiled(this.#reason!))
  }

  #ask(task: ThreadTask, seconds = this.#seconds): Promise<Answered> {
    return new Promise((resolve, reject) => {
      if (this.isEnded) throw this.#failure()
      this.#waiting.push({ resolve, reject, seconds })
      this.#tell(task)
      this.#watch()
    })
  }

  /** Sends a task. Tasks of one turn of the event loop are one message, since a message takes as long as a mask. */
  #tell(task: ThreadTask): void {
    if (this.#outbox.length === 0) queueMicrotask(() => this.#worker.postMessage(this.#outbox.splice(0)))
    this.#outbox.push(task)
  }

  #settle(answers: readonly Answer[]): void {
    for (const answer of answers) {
      const { resolve, reject } = this.#waiting.shift()!
      if ('value' in answer) resolve(answer.value)
      else {
        this.isSpent ||= answer.isSpent
        reject(new UsageError(answer.error.code, answer.error.message))
      }
    }
    this.#watch()
  }

  /** Ends the thread if it is stuck, or idle for long. */
  #watch(): void {
    clearTimeout(this.#idle)
    if (this.#waiting.length === 0) {
      clearInterval(this.#clock)
      this.#clock = undefined
      this.#worker.unref()
      if (this.isIdle && !this.isEnded)
        this.#idle = setTimeout(() => this.end('its thread was idle'), IDLE_MILLISECONDS).unref()
    } else if (!this.#clock) {
      this.#worker.ref()
      this.#clock = this.#startClock()
    }
  }

  /**
   * The limit that ends work for good counts the thread's processor time, since a busy machine is no fault of a constraint. Otherwise
   * ticks count, not time, so that a process that is suspended does not end its threads.
   */
  #startClock(): NodeJS.Timeout {
    let [last, ticks, before] = [-1, 0, 0]
    return setInterval(() => {
      const begun = Atomics.load(this.#begun, 0)
      const used = threadSeconds(Atomics.load(this.#begun, 1))
      if (begun !== last) [last, ticks, before] = [begun, 0, used ?? 0]
      else ticks++
      const [{ seconds }] = this.#waiting as [Waiting]
      const isForGood = seconds >= limits.seconds
      const spent = isForGood && used !== null ? used - before : (ticks * TICK_MILLISECONDS) / 1000
      this.isLate = spent > seconds
      if (this.isLate) this.end(`it takes more time than ${seconds} s`)
    }, TICK_MILLISECONDS).unref()
  }
}

function endOf(error: Error): string {
  const isMemory = (error as NodeJS.ErrnoException).code === 'ERR_WORKER_OUT_OF_MEMORY'
  return isMemory ? `it takes more memory than ${HEAP_MEBIBYTES} MiB` : reasonOf(error, 'its thread failed')
}
