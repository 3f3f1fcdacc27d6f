/**
 * Renders chat templates and runs tokenizers in a child process. Both come with a model, from anyone: they may loop forever,
 * fill the memory or crash, inside a single operation too, and only a process can then be stopped.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { createRequire } from 'node:module'
import type { Socket } from 'node:net'
import { InputError, RunError, UsageError } from '../../common/errors.js'
import { reasonOf } from '../../common/foreign-errors.js'
import { noCounts } from '../masks/chat-turns.js'
import { type BeginningToken, type MaskedChat, maskOf } from '../masks/mask-answers.js'
import type { AddedToken } from '../masks/token-marks.js'
import type { Span } from '../masks/turn-texts.js'
import type { RenderOptions, TemplateContext, TemplateDefinition } from '../templates/compiled-template.js'
import type { Message } from '../templates/messages.js'
import { type TokenizerDefinition, TokenizerEngine, type TokenizerTask } from '../tokenizer/engine.js'
import { MEBIBYTES, templateSeconds, WORDS } from './limits.js'
import type { Answers, Asked, ChatValue, IsolatedAnswer, Request, Shared } from './process.js'

/** An idle process ends after this time [ms]; a tokenizer is then loaded again. */
const IDLE_MILLISECONDS = 60_000

interface Waiting {
  shared: readonly Shared[]
  request: Request
  /** Name the template and the tokenizer in errors. */
  origins: { template?: string; tokenizer?: string }
  signal: AbortSignal | undefined
  resolve(value: unknown): void
  reject(error: unknown): void
}

let lastId = 0
const ids = new WeakMap<object, number>()

function idOf(value: object): number {
  const id = ids.get(value) ?? ++lastId
  ids.set(value, id)
  return id
}

/**
 * Renders a conversation.
 * @param template pass the same object for the same template, since it is sent once
 * @throws InputError `template-failed` if the template takes too much time or memory, and whatever rendering throws
 * @throws RunError `no-process`
 */
export function askForText(
  template: TemplateDefinition,
  messages: readonly Message[],
  options: RenderOptions,
  signal?: AbortSignal,
): Promise<string> {
  const request: Request = { asks: 'rendering', template: idOf(template), messages, options }
  const shared = [{ id: idOf(template), template }]
  return ask({ shared, request, origins: { template: template.origin }, signal }) as Promise<string>
}

/** A conversation to encode. */
export interface Conversation {
  messages: readonly Message[]
  context: TemplateContext
  /** Names the row in errors. */
  where: string
}

/** What encodes a rendered conversation. Pass the same objects for the same tokenizer, since they are sent once. */
export interface ChatTokenizer {
  tokenizer: TokenizerDefinition
  /** The tokenizer of texts that follow others. */
  continuation: TokenizerDefinition
  /** The tokens that the tokenizer finds before anything else. */
  added: readonly AddedToken[]
  beginning: BeginningToken
}

/**
 * Renders a conversation and returns its tokens, and which of them the model has to write.
 * @throws InputError `template-failed`, `tokenizer-failed`, `unmaskable-template`, `double-bos`, `no-end-of-turn`, and whatever
 * rendering throws
 * @throws RunError `no-process`
 */
export async function askForAnswers(
  template: TemplateDefinition,
  { tokenizer, continuation, added, beginning }: ChatTokenizer,
  conversation: Conversation,
  signal?: AbortSignal,
): Promise<MaskedChat> {
  const shared: Shared[] = [
    { id: idOf(template), template },
    { id: idOf(added), tokens: added },
    { id: idOf(tokenizer), tokenizer },
    { id: idOf(continuation), tokenizer: continuation },
  ]
  const request: Request = {
    asks: 'chat',
    ...conversation,
    template: idOf(template),
    tokenizer: idOf(tokenizer),
    continuation: idOf(continuation),
    tokens: idOf(added),
    beginning,
  }
  const origins = { template: template.origin, tokenizer: tokenizer.origin }
  const {
    ids,
    trained,
    turns,
    counts = noCounts(),
  } = (await ask({ shared, request, origins, signal })) as ChatValue & {
    ids: Int32Array
  }
  const spans: Span[] = []
  for (let i = 0; i < trained.length; i += 2) spans.push({ start: trained[i]!, end: trained[i + 1]! })
  return { ids, mask: maskOf(ids.length, spans), turns, ...counts }
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
    return await ask({ shared, request, origins: { tokenizer: tokenizer.origin }, signal })
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
  readonly #outbox: Waiting[] = []
  #isStarted = false
  /** Number of requests that were answered. */
  #answered = 0
  /** The end of what the process has written. */
  #words = ''
  /** The request that it has named as its last, and the one that it encodes by itself. */
  readonly #named = new Map<string, number>()
  #idle: NodeJS.Timeout | undefined

  /** @throws RunError `no-process` */
  constructor() {
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
      this.#words = words.slice(-MOST_WORDS)
    })
    this.#child.on('error', (cause) => this.#fail(cause.message))
    // Everything that it has sent and written is read by then.
    this.#child.on('close', (code, signal) => this.#fail(signal ?? `exit code ${code}`))
  }

  ask(waiting: Waiting): void {
    if (waiting.signal && !this.#signals.has(waiting.signal)) {
      this.#signals.add(waiting.signal)
      waiting.signal.addEventListener('abort', this.#onAbort)
    }
    this.#waiting.push(waiting)
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
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1)
      if (this.#waiting.length === 0) this.#becomeIdle()
      waiting.reject(notSent(waiting, cause))
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
    const { resolve, reject } = this.#waiting.shift()!
    this.#answered++
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
   * Rejects the request that ended the process, and sends the others again. If any of several may be the cause, the work of each
   * is then done alone.
   */
  #fail(reason: string): void {
    this.#retire()
    const waiting = this.#waiting.splice(0)
    if (!this.#isStarted) {
      for (const { reject } of waiting) reject(noProcess(reason))
      return
    }
    const at = this.#culprit(waiting)
    if (at === undefined) for (const { request } of waiting) request.alone = true
    else {
      const isEncoding = this.#named.get('encoding') === this.#answered + at
      const [culprit] = waiting.splice(at, 1)
      culprit?.reject(failed(culprit, reason, isEncoding))
    }
    for (const one of waiting) if (!one.signal?.aborted) give(one)
  }

  /** Returns the place of the request that ended the process; undefined if any of several may be the cause. */
  #culprit(waiting: readonly Waiting[]): number | undefined {
    const named = (this.#named.get('request') ?? -1) - this.#answered
    if (named >= 0 && named < waiting.length) return named
    return waiting.length <= 1 || waiting[0]!.request.alone ? 0 : undefined
  }
}

/** Requests of one message, since writing many takes long, and other work of this process waits for it. */
const MOST_OF_A_MESSAGE = 64

/** Characters of a process's words that may be the beginning of a sentence. */
const MOST_WORDS = 64

function started(): ChildProcess {
  const { NODE_OPTIONS: _, ...env } = process.env
  try {
    // Detached, since a terminal's signals are for this process, which saves its state; the child ends with it.
    return fork(createRequire(import.meta.url).resolve('#dist/data/isolated/process.js'), {
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

function noProcess(reason: string, cause?: unknown): RunError {
  const sentence = `The child process for chat templates and tokenizers cannot be started (${reason}).`
  return new RunError('no-process', sentence, { cause })
}

function notSent({ origins, request }: Waiting, cause: unknown): InputError {
  const reason = cause instanceof RangeError ? reasonOf(cause, 'it is too large') : 'it holds what is not data'
  return 'template' in request
    ? new InputError(
        'template-failed',
        `The chat template of ${origins.template} cannot be given this conversation: ${reason}.`,
        { cause },
      )
    : new InputError('tokenizer-failed', `The tokenizer of ${origins.tokenizer} cannot be given this: ${reason}.`, {
        cause,
      })
}

/** Returns the error of a request that ended the process, by the process's signal. */
function failed({ origins, request }: Waiting, reason: string, isEncoding: boolean): InputError {
  const ended = `(its process ended: ${reason})`
  if ('template' in request && !isEncoding) {
    const seconds = templateSeconds(request.messages.length)
    const excess = reason === 'SIGALRM' ? `time than ${seconds} s` : `memory than ${MEBIBYTES} MiB`
    const sentence = `The chat template of ${origins.template} takes more ${excess} for a conversation ${ended}.`
    return new InputError('template-failed', sentence)
  }
  const asks = 'template' in request ? 'encoded' : request.asks
  const what = { added: 'be used', encoded: 'encode this text', decoded: 'decode these ids' }[asks]
  const why =
    { SIGALRM: 'it takes too much time', SIGKILL: 'it takes too much memory' }[reason] ??
    'one of its regular expressions backtracks too much, or its parts contradict each other'
  return new InputError('tokenizer-failed', `The tokenizer of ${origins.tokenizer} cannot ${what}: ${why} ${ended}.`)
}
