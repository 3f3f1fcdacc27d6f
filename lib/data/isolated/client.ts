/**
 * Renders chat templates in a process of its own. A template comes with a model, from whoever made that: it may loop without
 * end or fill the memory, inside a single operation of JavaScript too, and only a process can then be ended.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { createRequire } from 'node:module'
import { serialize } from 'node:v8'
import { InputError, RunError, UsageError } from '../../common/errors.js'
import { reasonOf } from '../../common/foreign-errors.js'
import type { AddedToken } from '../masks/token-marks.js'
import type { TemplateDefinition } from '../templates/compiled-template.js'
import { MEBIBYTES, mostSeconds } from './limits.js'
import type { Answer, Asked, Request, Shared } from './process.js'

/** A process that has nothing to do for so long ends [ms]. */
const IDLE_MILLISECONDS = 10_000

interface Waiting {
  shared: readonly Shared[]
  request: Request
  /** Names the template in errors. */
  origin: string
  signal: AbortSignal | undefined
  resolve(value: unknown): void
  reject(error: unknown): void
}

/** A request without what says which template and tokens it is about. */
type Unshared<R> = R extends unknown ? Omit<R, 'template' | 'tokens'> : never

export interface AskOptions {
  /** Those that the tokenizer finds before anything else: the same list for the same tokenizer, since it is sent once. */
  tokens?: readonly AddedToken[]
  /** Aborting it ends the waiting with its reason. */
  signal?: AbortSignal
}

const noTokens: readonly AddedToken[] = []
let lastId = 0
const ids = new WeakMap<object, number>()

function idOf(value: object): number {
  const id = ids.get(value) ?? ++lastId
  ids.set(value, id)
  return id
}

/**
 * @param template the same object for the same template, since it is sent once
 * @throws InputError `template-failed` where the template takes too long or too much memory, and whatever rendering throws
 * @throws RunError `no-process`
 */
export function askRenderer(
  template: TemplateDefinition,
  request: Unshared<Request>,
  { tokens = noTokens, signal }: AskOptions = {},
): Promise<unknown> {
  const shared: Shared[] = [
    { id: idOf(template), template },
    { id: idOf(tokens), tokens },
  ]
  const whole = { ...request, template: idOf(template), tokens: idOf(tokens) } as Request
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    renderer ??= new Renderer()
    renderer.ask({ shared, request: whole, origin: template.origin, signal, resolve, reject })
  })
}

let renderer: Renderer | undefined

class Renderer {
  readonly #child: ChildProcess
  /** What was asked and is not answered, the oldest first. */
  readonly #waiting: Waiting[] = []
  readonly #sent = new Set<number>()
  readonly #heard = new WeakSet<AbortSignal>()
  #outbox: Buffer[] = []
  #isStarted = false
  #idle: NodeJS.Timeout | undefined

  constructor() {
    const { NODE_OPTIONS: _, ...env } = process.env
    // Signals of a terminal are for this process, which saves what there is; its end is the other's, too.
    this.#child = fork(createRequire(import.meta.url).resolve('#dist/data/isolated/process.js'), {
      execArgv: [`--max-old-space-size=${MEBIBYTES}`],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      detached: true,
      cwd: '/',
      env,
    })
    // Bun has no such method, and needs none.
    this.#child.channel?.unref?.()
    this.#child.on('message', (message: Answer | 'started') => {
      if (message === 'started') this.#isStarted = true
      else this.#settle(message)
    })
    this.#child.on('error', (cause) => this.#fail(cause.message))
    this.#child.on('exit', (code, signal) => this.#fail(signal ?? `exit code ${code}`))
  }

  ask(waiting: Waiting): void {
    const shared = waiting.shared.filter(({ id }) => !this.#sent.has(id))
    let bytes: Buffer
    try {
      bytes = serialize({ shared, request: waiting.request } satisfies Asked)
    } catch (cause) {
      const reason = cause instanceof RangeError ? reasonOf(cause, 'it is too large') : 'it holds what is not data'
      const sentence = `The chat template of ${waiting.origin} cannot be given this conversation: ${reason}.`
      waiting.reject(new InputError('template-failed', sentence, { cause }))
      return
    }
    for (const { id } of shared) this.#sent.add(id)
    if (waiting.signal && !this.#heard.has(waiting.signal)) {
      this.#heard.add(waiting.signal)
      waiting.signal.addEventListener('abort', () => this.#abandon(), { once: true })
    }
    this.#waiting.push(waiting)
    clearTimeout(this.#idle)
    this.#child.ref()
    // What is asked in one turn of the event loop goes together: a message costs as much as rendering a short conversation.
    if (this.#outbox.length === 0) setImmediate(() => this.#send())
    this.#outbox.push(bytes)
  }

  #send(): void {
    if (this.#child.connected) this.#child.send(this.#outbox)
    this.#outbox = []
  }

  #settle(answer: Answer): void {
    const { resolve, reject } = this.#waiting.shift()!
    if (this.#waiting.length === 0) this.#rest()
    if ('value' in answer) resolve(answer.value)
    else if ('fault' in answer) reject(new Error(answer.fault))
    else reject(new (answer.error.isUsage ? UsageError : InputError)(answer.error.code, answer.error.message))
  }

  #rest(): void {
    this.#child.unref()
    this.#idle = setTimeout(() => {
      this.#retire()
      this.#child.disconnect()
    }, IDLE_MILLISECONDS).unref()
  }

  #retire(): void {
    if (renderer === this) renderer = undefined
  }

  /** Nobody waits for aborted requests, but the process is at work on them, maybe without end. */
  #abandon(): void {
    const aborted = this.#waiting.filter(({ signal }) => signal?.aborted)
    for (const { signal, reject } of aborted) reject(signal!.reason)
    if (aborted.length > 0 && aborted.length === this.#waiting.length) this.#child.kill('SIGKILL')
  }

  /** The process is gone, because of the request that it worked at; the others are asked again. */
  #fail(reason: string): void {
    this.#retire()
    const [culprit, ...others] = this.#waiting.splice(0)
    if (!this.#isStarted) {
      const sentence = `The process that renders chat templates cannot be started (${reason}).`
      for (const { reject } of culprit ? [culprit, ...others] : []) reject(new RunError('no-process', sentence))
      return
    }
    culprit?.reject(tooMuch(culprit, reason))
    for (const waiting of others) {
      if (waiting.signal?.aborted) continue
      renderer ??= new Renderer()
      renderer.ask(waiting)
    }
  }
}

function tooMuch({ origin, request }: Waiting, reason: string): InputError {
  const seconds = mostSeconds(request.messages.length)
  const excess = reason === 'SIGALRM' ? `time than ${seconds} s` : `memory than ${MEBIBYTES} MiB`
  const sentence = `The chat template of ${origin} takes more ${excess} for a conversation (its process ended: ${reason}).`
  return new InputError('template-failed', sentence)
}
