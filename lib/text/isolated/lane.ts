/** Sends requests to an isolated process, which it starts and replaces as needed. */
import { type ChildProcess, fork } from 'node:child_process'
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { InputError, UsageError } from '../../common/errors.js'
import { endedFromOutside, failed, type Named, noProcess, notSent } from './failures.js'
import { LAST_WORD, MEBIBYTES, WORDS } from './limits.js'
import type { Answers, Asked, IsolatedAnswer, Shared } from './requests.js'
import { Turns } from './turns.js'

/** Time after which an idle process ends [ms]; the next request loads its tokenizer again. */
const IDLE_MILLISECONDS = 60_000

/** Time for which the process may work on a cancelled request [ms]. */
const LEFT_MILLISECONDS = 500

/**
 * Maximum number of requests in a process at once, and of their characters: about an eighth of a second of work, for which later
 * requests wait.
 */
const MOST_AT_ONCE = 192
const MOST_WORK = 2 ** 17

/** Maximum number of requests in one message, since writing a long message blocks this process's event loop. */
const MOST_OF_A_MESSAGE = 64

/** Number of characters at the end of a process's output that may be the beginning of a notice. */
const MOST_WORDS = 64

/** Signals that other programs send; a failing tokenizer and the time limit send other ones. */
const OUTSIDE: ReadonlySet<string> = new Set(['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'])
/** Maximum number of attempts for a request whose process other programs end. */
const MOST_ATTEMPTS = 4

/** A request without an answer. */
export interface Waiting extends Named {
  readonly shared: readonly Shared[]
  readonly signal: AbortSignal | undefined
  /** Size of the work [characters]. */
  readonly size: number
  /** Number of times that another program ended the request's process. */
  attempts: number
  resolve(value: unknown): void
  reject(error: unknown): void
}

/** Requests that take turns for one process. */
export class ProcessLane {
  readonly #turns = new Turns<Waiting>()
  /** The signals of requests, with the number of requests of each. */
  readonly #signals = new Map<AbortSignal, { count: number; onAbort: () => void }>()
  #process: IsolatedProcess | undefined
  #isPassing = false

  ask(waiting: Waiting): void {
    try {
      this.#start()
    } catch (error) {
      waiting.reject(error)
      return
    }
    if (waiting.signal) this.#listen(waiting.signal)
    this.#wait(waiting)
  }

  /** @throws RunError `no-process` */
  #start(): IsolatedProcess {
    this.#process ??= new IsolatedProcess({
      onAnswer: (answered) => {
        this.#forget(answered)
        this.#pass()
      },
      onRetire: (retired) => {
        if (this.#process === retired) this.#process = undefined
        this.#pass()
      },
      again: (one) => this.#wait(one),
    })
    return this.#process
  }

  #wait(waiting: Waiting): void {
    this.#turns.add(waiting.signal ?? waiting.request.asks, waiting.size, waiting)
    this.#pass()
  }

  /** Passes the waiting requests to processes, all requests of one turn of the event loop together. */
  #pass(): void {
    if (this.#isPassing) return
    this.#isPassing = true
    setImmediate(() => {
      this.#isPassing = false
      while (!this.#turns.isEmpty && (this.#process?.hasRoom ?? true)) this.#give(this.#turns.next())
    })
  }

  #give(waiting: Waiting): void {
    try {
      this.#start().ask(waiting)
    } catch (error) {
      this.#forget(waiting)
      waiting.reject(error)
    }
  }

  #listen(signal: AbortSignal): void {
    const known = this.#signals.get(signal)
    if (known) {
      known.count++
      return
    }
    const onAbort = () => {
      this.#signals.delete(signal)
      for (const { reject } of this.#turns.leave(signal)) reject(signal.reason)
      this.#process?.abandon()
    }
    this.#signals.set(signal, { count: 1, onAbort })
    signal.addEventListener('abort', onAbort, { once: true })
  }

  #forget({ signal }: Waiting): void {
    const known = signal && this.#signals.get(signal)
    if (!known || --known.count > 0) return
    this.#signals.delete(signal)
    signal.removeEventListener('abort', known.onAbort)
  }
}

/** The events of a process that its lane handles. */
interface Listener {
  /** A request was answered. */
  onAnswer(waiting: Waiting): void
  /** The process takes no more requests. */
  onRetire(process: IsolatedProcess): void
  /** A request must be sent again. */
  again(waiting: Waiting): void
}

class IsolatedProcess {
  readonly #child: ChildProcess
  /** Requests without an answer, the oldest first. */
  readonly #waiting: Waiting[] = []
  readonly #sent = new Set<number>()
  readonly #listener: Listener
  readonly #outbox: Waiting[] = []
  #isStarted = false
  /** Number of requests that were answered. */
  #answered = 0
  /** The end of the process's output. */
  #words = ''
  /** The numbers of the request that the process named as its last, and of the request that it encodes alone. */
  readonly #named = new Map<string, number>()
  /** The process's notice of its end. */
  #ending: string | undefined
  #idle: NodeJS.Timeout | undefined
  #left: NodeJS.Timeout | undefined
  /** Whether the process was killed because its work was cancelled. */
  #isKilled = false
  /** The work of all requests without an answer [characters]. */
  #work = 0

  /** @throws RunError `no-process` */
  constructor(listener: Listener) {
    this.#listener = listener
    this.#child = started()
    // Bun has no such method, and needs none.
    this.#child.channel?.unref?.()
    this.#child.on('message', (message: Answers | 'started') => {
      if (message === 'started') this.#isStarted = true
      else this.#settleAll(message)
    })
    const words = this.#child.stderr as Socket
    words.unref()
    words.on('data', (piece: Buffer) => {
      const words = this.#words + piece.toString('latin1')
      for (const [, what, number] of words.matchAll(WORDS)) this.#named.set(what!, Number(number))
      this.#ending ??= LAST_WORD.exec(words)?.[1]
      this.#words = words.slice(-MOST_WORDS)
    })
    // Writing to a process that has ended fails before its `close` event arrives.
    this.#child.on('error', (cause) => {
      if (!this.#isStarted && this.#child.pid === undefined) this.#fail(cause.message)
    })
    // By then all messages and output of the process have been read.
    this.#child.on('close', (code, signal) => this.#fail(this.#ending ?? signal ?? `exit code ${code}`))
  }

  /** Whether the process can take another request without a long wait. */
  get hasRoom(): boolean {
    const count = this.#waiting.length
    return count === 0 || (count < MOST_AT_ONCE && this.#work < MOST_WORK)
  }

  ask(waiting: Waiting): void {
    this.#waiting.push(waiting)
    this.#work += waiting.size
    clearTimeout(this.#idle)
    this.#child.ref()
    // Requests of one turn of the event loop are one message, since a message costs as much as rendering a short conversation.
    if (this.#outbox.length === 0) setImmediate(() => this.#send())
    this.#outbox.push(waiting)
  }

  #send(): void {
    const outbox = this.#outbox.splice(0, MOST_OF_A_MESSAGE)
    if (this.#outbox.length > 0) setImmediate(() => this.#send())
    if (!this.#child.connected) return
    try {
      this.#sendTogether(outbox)
    } catch {
      for (const waiting of outbox) this.#sendAlone(waiting)
    }
  }

  #sendTogether(outbox: readonly Waiting[]): void {
    const all = new Map(outbox.flatMap(({ shared }) => shared.map((one) => [one.id, one])))
    const shared = [...all.values()].filter(({ id }) => !this.#sent.has(id))
    this.#child.send({ shared, requests: outbox.map(({ request }) => request) } satisfies Asked)
    for (const { id } of shared) this.#sent.add(id)
  }

  /** Sends a request by itself, and rejects it if that is impossible. */
  #sendAlone(waiting: Waiting): void {
    try {
      this.#sendTogether([waiting])
    } catch (cause) {
      this.#take(this.#waiting.indexOf(waiting)).reject(notSent(waiting, cause))
    }
  }

  #settleAll({ answers, ids }: Answers): void {
    let at = 0
    for (const answer of answers) {
      if ('value' in answer && answer.tokens !== undefined) {
        const own = ids.slice(at, at + answer.tokens)
        at += answer.tokens
        this.#settle({ value: { ...(answer.value as object), ids: own } })
      } else this.#settle(answer)
    }
  }

  #settle(answer: IsolatedAnswer): void {
    const { resolve, reject } = this.#take(0)
    this.#answered++
    if ('value' in answer) resolve(answer.value)
    else if ('fault' in answer) reject(new Error(answer.fault))
    else reject(new (answer.error.isUsage ? UsageError : InputError)(answer.error.code, answer.error.message))
  }

  /** Removes a request, whose answer is known. */
  #take(at: number): Waiting {
    const [waiting] = this.#waiting.splice(at, 1) as [Waiting]
    this.#work -= waiting.size
    if (this.#waiting.length === 0) this.#becomeIdle()
    this.#listener.onAnswer(waiting)
    return waiting
  }

  #becomeIdle(): void {
    this.#child.unref()
    this.#idle = setTimeout(() => {
      this.#listener.onRetire(this)
      this.#child.disconnect()
    }, IDLE_MILLISECONDS).unref()
  }

  /** Rejects aborted requests. Kills the process if it goes on working on one of them. */
  abandon(): void {
    for (const { signal, reject } of this.#waiting) if (signal?.aborted) reject(signal.reason)
    let first: Waiting | undefined
    this.#left ??= setInterval(() => {
      const stuck = first === this.#waiting[0] ? first : undefined
      first = this.#waiting[0]
      if (stuck?.signal?.aborted) this.#kill()
      else if (!this.#waiting.some(({ signal }) => signal?.aborted)) this.#forgetLeft()
    }, LEFT_MILLISECONDS).unref()
  }

  #forgetLeft(): void {
    clearInterval(this.#left)
    this.#left = undefined
  }

  #kill(): void {
    this.#isKilled = true
    this.#forgetLeft()
    // Later requests begin in another process.
    this.#listener.onRetire(this)
    this.#child.kill('SIGKILL')
  }

  /**
   * Rejects the request that ended the process, and sends the others again. If the cause may be any of several requests, each
   * of them is then processed alone.
   */
  #fail(reason: string): void {
    this.#forgetLeft()
    clearTimeout(this.#idle)
    const all = this.#waiting.splice(0)
    const isFromOutside = !this.#named.has('request') && OUTSIDE.has(reason)
    const at = isFromOutside || !this.#isStarted ? undefined : this.#culprit(all)
    for (const [i, waiting] of all.entries()) {
      const isAborted = waiting.signal?.aborted === true
      if (isAborted || i === at || (!isFromOutside && !this.#isStarted) || waiting.attempts >= MOST_ATTEMPTS) {
        this.#listener.onAnswer(waiting)
        waiting.reject(isAborted ? waiting.signal.reason : this.#failure(waiting, reason, { isFromOutside, at: i }))
        continue
      }
      if (isFromOutside) waiting.attempts += this.#isKilled ? 0 : 1
      else if (at === undefined) waiting.request.alone = true
      this.#listener.again(waiting)
    }
    this.#listener.onRetire(this)
  }

  #failure(waiting: Waiting, reason: string, { isFromOutside, at }: { isFromOutside: boolean; at: number }): Error {
    if (isFromOutside) return endedFromOutside(waiting, reason)
    if (!this.#isStarted) return noProcess(reason)
    return failed(waiting, reason, this.#named.get('encoding') === this.#answered + at)
  }

  /** Returns the place of the request that ended the process; undefined if any of several may be the cause. */
  #culprit(waiting: readonly Waiting[]): number | undefined {
    const named = (this.#named.get('request') ?? -1) - this.#answered
    if (named >= 0 && named < waiting.length) return named
    return waiting.length <= 1 || waiting[0]!.request.alone ? 0 : undefined
  }
}

function started(): ChildProcess {
  const { NODE_OPTIONS: _, ...env } = process.env
  try {
    // Detached, since a terminal's signals are for this process, which saves its state; the child ends with it.
    return fork(createRequire(import.meta.url).resolve('#dist/text/isolated/process.js'), {
      execArgv: [`--max-old-space-size=${MEBIBYTES}`],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      detached: true,
      cwd: '/',
      env,
    })
  } catch (cause) {
    throw noProcess((cause as Error).message, cause)
  }
}
