/**
 * Renders chat templates and runs tokenizers in a child process. Both come with a model, from anyone: they may loop forever,
 * fill the memory or crash, inside a single operation too, and only a process can then be stopped.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { createRequire } from 'node:module'
import { serialize } from 'node:v8'
import { InputError, RunError, UsageError } from '../../common/errors.js'
import { reasonOf } from '../../common/foreign-errors.js'
import type { AddedToken } from '../masks/token-marks.js'
import type { TemplateDefinition } from '../templates/compiled-template.js'
import { type TokenizerDefinition, TokenizerEngine, type TokenizerTask } from '../tokenizer/engine.js'
import { MEBIBYTES, templateSeconds } from './limits.js'
import type { Asked, IsolatedAnswer, Request, Shared, TemplateRequest } from './process.js'

/** An idle process ends after this time [ms]; a tokenizer is then loaded again. */
const IDLE_MILLISECONDS = 60_000

interface Waiting {
  shared: readonly Shared[]
  request: Request
  /** Names the template or tokenizer in errors. */
  origin: string
  signal: AbortSignal | undefined
  resolve(value: unknown): void
  reject(error: unknown): void
}

/** A request without the numbers of its template and tokens. */
type Unshared<R> = R extends unknown ? Omit<R, 'template' | 'tokens'> : never

export interface AskOptions {
  /** Tokens that the tokenizer finds before anything else. Pass the same list for the same tokenizer, since it is sent once. */
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
 * Sends a request to the process and returns its answer.
 * @param template pass the same object for the same template, since it is sent once
 * @throws InputError `template-failed` if the template takes too much time or memory, and whatever rendering throws
 * @throws RunError `no-process`
 */
export function askRenderer(
  template: TemplateDefinition,
  request: Unshared<TemplateRequest>,
  { tokens = noTokens, signal }: AskOptions = {},
): Promise<unknown> {
  const shared: Shared[] = [
    { id: idOf(template), template },
    { id: idOf(tokens), tokens },
  ]
  const whole = { ...request, template: idOf(template), tokens: idOf(tokens) } as TemplateRequest
  return ask({ shared, request: whole, origin: template.origin, signal })
}

/**
 * Sends a request to the process and returns its answer.
 * @param tokenizer pass the same object for the same tokenizer, since it is sent once
 * @throws InputError `tokenizer-failed` if the tokenizer takes too much time or memory or ends its process
 * @throws InputError `malformed-tokenizer`
 * @throws UsageError `no-tokenizer-library`
 */
export async function askTokenizer(
  tokenizer: TokenizerDefinition,
  task: TokenizerTask,
  signal?: AbortSignal,
): Promise<unknown> {
  const shared: Shared[] = [{ id: idOf(tokenizer), tokenizer }]
  const request = { ...task, tokenizer: idOf(tokenizer) }
  try {
    return await ask({ shared, request, origin: tokenizer.origin, signal })
  } catch (error) {
    if (!(error instanceof RunError && error.code === 'no-process')) throw error
    return (await engineHere(tokenizer)).answer(task)
  }
}

const enginesHere = new WeakMap<TokenizerDefinition, Promise<TokenizerEngine>>()

/** Loads the tokenizer in this process, for when no other can be started, as in Deno without --allow-run. */
function engineHere(tokenizer: TokenizerDefinition): Promise<TokenizerEngine> {
  const engine = enginesHere.get(tokenizer) ?? TokenizerEngine.load(tokenizer)
  enginesHere.set(tokenizer, engine)
  return engine
}

function ask(question: Omit<Waiting, 'resolve' | 'reject'>): Promise<unknown> {
  return new Promise((resolve, reject) => {
    question.signal?.throwIfAborted()
    give({ ...question, resolve, reject })
  })
}

/** Passes a request to the process, which is started if there is none. */
function give(waiting: Waiting): void {
  try {
    current ??= new IsolatedProcess()
    current.ask(waiting)
  } catch (error) {
    waiting.reject(error)
  }
}

let current: IsolatedProcess | undefined

class IsolatedProcess {
  readonly #child: ChildProcess
  /** Requests without an answer, the oldest first. */
  readonly #waiting: Waiting[] = []
  readonly #sent = new Set<number>()
  readonly #signals = new Set<AbortSignal>()
  readonly #onAbort = () => this.#abandon()
  #outbox: Buffer[] = []
  #isStarted = false
  #idle: NodeJS.Timeout | undefined

  /** @throws RunError `no-process` */
  constructor() {
    this.#child = started()
    // Bun has no such method, and needs none.
    this.#child.channel?.unref?.()
    this.#child.on('message', (message: IsolatedAnswer[] | 'started') => {
      if (message === 'started') this.#isStarted = true
      else for (const answer of message) this.#settle(answer)
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
      waiting.reject(notSent(waiting, cause))
      return
    }
    for (const { id } of shared) this.#sent.add(id)
    if (waiting.signal && !this.#signals.has(waiting.signal)) {
      this.#signals.add(waiting.signal)
      waiting.signal.addEventListener('abort', this.#onAbort)
    }
    this.#waiting.push(waiting)
    clearTimeout(this.#idle)
    this.#child.ref()
    // Requests of one turn of the event loop are one message, since a message costs as much as rendering a short conversation.
    if (this.#outbox.length === 0) setImmediate(() => this.#send())
    this.#outbox.push(bytes)
  }

  #send(): void {
    if (this.#child.connected) this.#child.send(this.#outbox)
    this.#outbox = []
  }

  #settle(answer: IsolatedAnswer): void {
    const { resolve, reject } = this.#waiting.shift()!
    if (this.#waiting.length === 0) this.#becomeIdle()
    if ('value' in answer) resolve(answer.value)
    else if ('fault' in answer) reject(new Error(answer.fault))
    else reject(new (answer.error.isUsage ? UsageError : InputError)(answer.error.code, answer.error.message))
  }

  #becomeIdle(): void {
    for (const signal of this.#signals) signal.removeEventListener('abort', this.#onAbort)
    this.#signals.clear()
    this.#child.unref()
    this.#idle = setTimeout(() => {
      this.#retire()
      this.#child.disconnect()
    }, IDLE_MILLISECONDS).unref()
  }

  #retire(): void {
    if (current === this) current = undefined
  }

  /** Rejects aborted requests; if no others wait, kills the process, which may work on one forever. */
  #abandon(): void {
    const aborted = this.#waiting.filter(({ signal }) => signal?.aborted)
    for (const { signal, reject } of aborted) reject(signal!.reason)
    if (aborted.length > 0 && aborted.length === this.#waiting.length) this.#child.kill('SIGKILL')
  }

  /**
   * Rejects the request that the process worked on when it ended, and sends the others again. Any of the texts that were
   * encoded together may be the cause, so each of them is then encoded alone.
   */
  #fail(reason: string): void {
    this.#retire()
    const waiting = this.#waiting.splice(0)
    if (!this.#isStarted) {
      for (const { reject } of waiting) reject(noProcess(reason))
      return
    }
    const [culprit] = waiting
    if (culprit?.request.asks === 'encoded' && !culprit.request.alone) {
      for (const { request } of waiting) if (request.asks === 'encoded') request.alone = true
    } else waiting.shift()?.reject(failed(culprit!, reason))
    for (const one of waiting) if (!one.signal?.aborted) give(one)
  }
}

function started(): ChildProcess {
  const { NODE_OPTIONS: _, ...env } = process.env
  try {
    // Detached, since a terminal's signals are for this process, which saves its state; the child ends with it.
    return fork(createRequire(import.meta.url).resolve('#dist/data/isolated/process.js'), {
      execArgv: [`--max-old-space-size=${MEBIBYTES}`],
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      detached: true,
      cwd: '/',
      env,
    })
  } catch (cause) {
    throw noProcess((cause as Error).message, cause)
  }
}

function noProcess(reason: string, cause?: unknown): RunError {
  const sentence = `The child process for chat templates and tokenizers cannot be started (${reason}).`
  return new RunError('no-process', sentence, { cause })
}

function notSent({ origin, request }: Waiting, cause: unknown): InputError {
  const reason = cause instanceof RangeError ? reasonOf(cause, 'it is too large') : 'it holds what is not data'
  return 'template' in request
    ? new InputError(
        'template-failed',
        `The chat template of ${origin} cannot be given this conversation: ${reason}.`,
        { cause },
      )
    : new InputError('tokenizer-failed', `The tokenizer of ${origin} cannot be given this: ${reason}.`, { cause })
}

/** Returns the error of a request that ended the process, by the process's signal. */
function failed({ origin, request }: Waiting, reason: string): InputError {
  const ended = `(its process ended: ${reason})`
  if ('template' in request) {
    const seconds = templateSeconds(request.messages.length)
    const excess = reason === 'SIGALRM' ? `time than ${seconds} s` : `memory than ${MEBIBYTES} MiB`
    const sentence = `The chat template of ${origin} takes more ${excess} for a conversation ${ended}.`
    return new InputError('template-failed', sentence)
  }
  const what = { added: 'be used', encoded: 'encode this text', decoded: 'decode these ids' }[request.asks]
  const why =
    { SIGALRM: 'it takes too much time', SIGKILL: 'it takes too much memory' }[reason] ??
    'one of its regular expressions backtracks too much, or its parts contradict each other'
  return new InputError('tokenizer-failed', `The tokenizer of ${origin} cannot ${what}: ${why} ${ended}.`)
}
