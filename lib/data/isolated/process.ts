/** The isolated process, which renders chat templates and runs tokenizers. It answers requests in order. */
import { once } from 'node:events'
import { deserialize } from 'node:v8'
import { Worker } from 'node:worker_threads'
import { MoraError, UsageError } from '../../common/errors.js'
import { ChatTurns } from '../masks/chat-turns.js'
import { type AddedToken, TokenMarks } from '../masks/token-marks.js'
import {
  CompiledTemplate,
  type RenderOptions,
  type TemplateContext,
  type TemplateDefinition,
} from '../templates/compiled-template.js'
import type { Message } from '../templates/messages.js'
import { type Encoding, type TokenizerDefinition, TokenizerEngine, type TokenizerTask } from '../tokenizer/engine.js'
import { encodeSeconds, loadSeconds, templateSeconds, tokenizerMebibytes } from './limits.js'

/** Data that many requests use and that is sent once. */
export type Shared = { id: number } & (
  | { template: TemplateDefinition }
  | { tokens: readonly AddedToken[] }
  | { tokenizer: TokenizerDefinition }
)

export type TemplateRequest = { template: number; messages: readonly Message[] } & (
  | { asks: 'rendering'; options: RenderOptions }
  | { asks: 'answers'; tokens: number; context: TemplateContext; where: string }
)

/** `alone`: the text is not encoded together with others, so that the text that ends the process is known. */
export type TokenizerRequest = { tokenizer: number; alone?: boolean } & TokenizerTask

export type Request = TemplateRequest | TokenizerRequest

/** A request, with the shared data that was not sent before. */
export interface Asked {
  shared: readonly Shared[]
  request: Request
}

export type IsolatedAnswer =
  | { value: unknown }
  | { error: { code: string; message: string; isUsage: boolean } }
  | { fault: string }

const templates = new Map<number, TemplateDefinition | CompiledTemplate>()
const marks = new Map<number, TokenMarks>()
const tokenizers = new Map<number, TokenizerDefinition | TokenizerEngine>()

function store(shared: Shared): void {
  if ('template' in shared) templates.set(shared.id, shared.template)
  else if ('tokens' in shared) marks.set(shared.id, new TokenMarks(shared.tokens))
  else tokenizers.set(shared.id, shared.tokenizer)
}

function templateOf(id: number): CompiledTemplate {
  const known = templates.get(id)!
  if (known instanceof CompiledTemplate) return known
  const compiled = new CompiledTemplate(known)
  templates.set(id, compiled)
  return compiled
}

async function engineOf(id: number): Promise<TokenizerEngine> {
  const known = tokenizers.get(id)!
  if (known instanceof TokenizerEngine) return known
  const engine = await TokenizerEngine.load(known)
  tokenizers.set(id, engine)
  return engine
}

function rendered(request: TemplateRequest): unknown {
  const template = templateOf(request.template)
  const { messages } = request
  if (request.asks === 'rendering') return template.render(messages, request.options)
  const turns = new ChatTurns(template, marks.get(request.tokens)!, messages, request.context, request.where)
  return { text: turns.text, ...turns.answers() }
}

/** Returns the result of a single request, or the encodings of several texts. */
async function valuesOf(batch: readonly Request[]): Promise<unknown[]> {
  const [request] = batch as readonly [Request]
  if ('template' in request) return [rendered(request)]
  const engine = await engineOf(request.tokenizer)
  return isEncoding(request) ? engine.encode(batch.filter(isEncoding)) : [await engine.answer(request)]
}

async function answersTo(batch: readonly Request[]): Promise<IsolatedAnswer[]> {
  try {
    return (await valuesOf(batch)).map((value) => ({ value }))
  } catch (error) {
    if (batch.length > 1) return (await Promise.all(batch.map((request) => answersTo([request])))).flat()
    if (!(error instanceof MoraError)) return [{ fault: String((error as Error).stack) }]
    const { code, message } = error
    return [{ error: { code, message, isUsage: error instanceof UsageError } }]
  }
}

function isEncoding(request: Request): request is TokenizerRequest & Encoding {
  return request.asks === 'encoded'
}

/** Texts that are encoded together at most: they use several threads and share a limit of time. */
const MOST_TOGETHER = 256
const MOST_CHARACTERS = 2 ** 20

/** Returns the first request of the queue, and the ones after it that are encoded together with it. */
function nextBatch(): Request[] {
  const [first, ...others] = queue.slice(0, MOST_TOGETHER).map(({ request }) => request) as [Request, ...Request[]]
  if (!isEncoding(first) || first.alone) return [first]
  let characters = first.text.length
  const end = others.findIndex((request) => {
    if (!isEncoding(request) || request.alone || request.tokenizer !== first.tokenizer) return true
    characters += request.text.length
    return characters > MOST_CHARACTERS
  })
  return [first, ...others.slice(0, end < 0 ? undefined : end)]
}

/** Number of requests so far, and the current request's limits of time [s] and process size [MiB]; 0 between requests. */
const current = new Int32Array(new SharedArrayBuffer(12))
const clock = new Worker(new URL('./clock.js', import.meta.url), { workerData: current })
const isTicking = once(clock, 'online')

function begin(batch: readonly Request[]): void {
  const [request] = batch as readonly [Request]
  let [seconds, mebibytes] = [0, 0]
  if ('template' in request) seconds = templateSeconds(request.messages.length)
  else {
    const definition = tokenizers.get(request.tokenizer)!
    const read = definition instanceof TokenizerEngine ? 0 : definition.json.length
    const used = batch.reduce((sum, each) => sum + (isEncoding(each) ? each.text.length : 0), 0)
    seconds = loadSeconds(read) + encodeSeconds(used)
    mebibytes = Math.ceil(process.memoryUsage.rss() / 2 ** 20) + tokenizerMebibytes(16 * read + used)
  }
  Atomics.add(current, 0, 1)
  Atomics.store(current, 2, mebibytes)
  Atomics.store(current, 1, seconds)
}

function end(): void {
  Atomics.store(current, 1, 0)
  Atomics.store(current, 2, 0)
}

const queue: Asked[] = []

/** Sends answers before it begins the next request, so that the parent knows which request ended the process. */
async function answerAll(): Promise<void> {
  await isTicking
  while (queue.length > 0) {
    const batch = nextBatch()
    for (const { shared } of queue.slice(0, batch.length)) for (const one of shared) store(one)
    begin(batch)
    const answers = await answersTo(batch)
    end()
    await new Promise((resolve) => process.send!(answers, undefined, undefined, resolve))
    queue.splice(0, batch.length)
  }
}

process.on('message', (asked: Uint8Array[]) => {
  queue.push(...asked.map((one) => deserialize(one) as Asked))
  if (queue.length === asked.length) void answerAll()
})
// An exit would wait for the tokenizer, maybe forever.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
process.send!('started')
