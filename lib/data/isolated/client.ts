/**
 * Renders chat templates and runs tokenizers in a process of its own. Both come with a model, from whoever made that: they may
 * loop without end, fill the memory or end the process, inside a single operation too, and only a process can then be ended.
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

/** A process that has nothing to do for so long ends [ms]: a tokenizer is read again after that. */
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
 * @param tokenizer the same object for the same tokenizer, since it is sent once
 * @throws InputError `tokenizer-failed` where the tokenizer takes too long or too much memory or ends its process
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

/** Where no other process may be started, as in Deno without --allow-run, tokenizers work in this one. */
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

/** Gives a request to the process, which is started where there is none. */
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
  /** What was asked and is not answered, the oldest first. */
  readonly #waiting: Waiting[] = []
  readonly #sent = new Set<number>()
  readonly #heard = new Set<AbortSignal>()
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
    if (waiting.signal && !this.#heard.has(waiting.signal)) {
      this.#heard.add(waiting.signal)
      waiting.signal.addEventListener('abort', this.#onAbort)
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

  #settle(answer: IsolatedAnswer): void {
    const { resolve, reject } = this.#waiting.shift()!
    if (this.#waiting.length === 0) this.#rest()
    if ('value' in answer) resolve(answer.value)
    else if ('fault' in answer) reject(new Error(answer.fault))
    else reject(new (answer.error.isUsage ? UsageError : InputError)(answer.error.code, answer.error.message))
  }

  #rest(): void {
    for (const signal of this.#heard) signal.removeEventListener('abort', this.#onAbort)
    this.#heard.clear()
    this.#child.unref()
    this.#idle = setTimeout(() => {
      this.#retire()
      this.#child.disconnect()
    }, IDLE_MILLISECONDS).unref()
  }

  #retire(): void {
    if (current === this) current = undefined
  }

  /** Nobody waits for aborted requests, but the process is at work on them, maybe without end. */
  #abandon(): void {
    const aborted = this.#waiting.filter(({ signal }) => signal?.aborted)
    for (const { signal, reject } of aborted) reject(signal!.reason)
    if (aborted.length > 0 && aborted.length === this.#waiting.length) this.#child.kill('SIGKILL')
  }

  /**
   * The process is gone, because of the request that it worked at; the others are asked again. Of texts that were encoded
   * together any may be the cause, so each is then encoded alone.
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
    // Signals of a terminal are for this process, which saves what there is; its end is the other's, too.
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
  const sentence = `The process in which chat templates and tokenizers work cannot be started (${reason}).`
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

/** Why the process ended, as far as its signal tells. */
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
    'a regular expression of it tries too much, or its parts contradict each other'
  return new InputError('tokenizer-failed', `The tokenizer of ${origin} cannot ${what}: ${why} ${ended}.`)
}
