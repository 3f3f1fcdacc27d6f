/** The isolated process, which renders chat templates and runs tokenizers. It answers requests in order. */

import { once } from 'node:events'
import { writeSync } from 'node:fs'
import { constants, freemem, setPriority } from 'node:os'
import { Worker } from 'node:worker_threads'
import { MoraError, UsageError } from '../../common/errors.js'
import { speaking } from '../../common/option-names.js'
import { endThisProcess } from '../../system/processes.js'
import { type ChatAnswers, ChatTurns } from '../masks/chat-turns.js'
import { answerTokens } from '../masks/mask-answers.js'
import { TokenMarks } from '../masks/token-marks.js'
import { straddledSpans, turnTokens } from '../masks/token-spans.js'
import type { AnswerSpan } from '../masks/turn-texts.js'
import { CompiledTemplate, type TemplateDefinition } from '../templates/compiled-template.js'
import type { Message } from '../templates/messages.js'
import { type EncodedText, encodedOf, type TokenizerDefinition, TokenizerEngine } from '../tokenizer/engine.js'
import { encodeSeconds, encodingWords, loadSeconds, place, templateSeconds, tokenizerMebibytes } from './limits.js'
import {
  type Answers,
  type Asked,
  type ChatRequest,
  type ChatValue,
  type EncodingRequest,
  type IsolatedAnswer,
  type RenderRequest,
  type Request,
  type Shared,
  sizeOf,
} from './requests.js'

/** An answer with its ids. */
type Answer = IsolatedAnswer & { ids?: Int32Array }

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

/** A request and its number among all that this process receives. */
interface Numbered<Kind extends Request = Request> {
  request: Kind
  number: number
}

/** Kinds of requests that are processed together: texts are encoded on several threads. */
const TOGETHER: ReadonlySet<Request['asks']> = new Set(['rendering', 'chat', 'encoded'])
const MOST_TOGETHER = 64
const MOST_CHARACTERS = 2 ** 20

/** Returns the first request of the queue, and the following requests that are processed together with it. */
function nextBatch(): Numbered[] {
  const [first, ...others] = queue.slice(0, MOST_TOGETHER) as [Numbered, ...Numbered[]]
  if (first.request.alone || !TOGETHER.has(first.request.asks)) return [first]
  let characters = sizeOf(first.request)
  const end = others.findIndex(({ request }) => {
    characters += sizeOf(request)
    return request.alone || !isAlike(request, first.request) || characters > MOST_CHARACTERS
  })
  return [first, ...others.slice(0, end < 0 ? undefined : end)]
}

function isAlike(a: Request, b: Request): boolean {
  return a.asks === b.asks && (a as { tokenizer?: number }).tokenizer === (b as { tokenizer?: number }).tokenizer
}

async function answersTo(batch: readonly Numbered[]): Promise<Answer[]> {
  const [{ request, number }] = batch as readonly [Numbered]
  switch (request.asks) {
    case 'rendering':
      return Promise.all((batch as readonly Numbered<RenderRequest>[]).map(rendered))
    case 'chat':
      return chats(batch as readonly Numbered<ChatRequest>[])
    case 'encoded':
      return encodings(batch as readonly Numbered<EncodingRequest>[])
    default:
      return [
        await answerOf(async () => {
          beginTokenizer([request.tokenizer], 0, number)
          return { value: await (await engineOf(request.tokenizer)).answer(request) }
        }),
      ]
  }
}

function rendered({ request, number }: Numbered<RenderRequest>): Promise<Answer> {
  return answerOf(() => {
    beginTemplate(request, number)
    const render = () => templateOf(request.template).render(request.messages, request.options)
    return { value: speaking(request.voice, render) }
  })
}

function encodings(batch: readonly Numbered<EncodingRequest>[]): Promise<Answer[]> {
  const texts = batch.map(({ request, number }) => ({ request, number, text: request.text }))
  return encoded(texts, ({ request }, text) => {
    const { ids, ...places } = encodedOf(request, text)
    return { value: places, ids }
  })
}

/** Renders each conversation, and encodes all texts together. */
async function chats(batch: readonly Numbered<ChatRequest>[]): Promise<Answer[]> {
  const rendered: (Conversation | Answer)[] = []
  for (const one of batch) {
    rendered.push(ahead.get(one.number) ?? conversation(one))
    ahead.delete(one.number)
  }
  const conversations = rendered.filter((one) => 'text' in one)
  const masked = await encoded(conversations, chatAnswer)
  return rendered.map((one) => ('text' in one ? masked[conversations.indexOf(one)]! : one))
}

/** Conversations that were rendered while other threads encoded the ones before them. */
const ahead = new Map<number, Conversation | Answer>()

/** Renders the conversations behind the first `count` requests of the queue. */
function renderAhead(count: number): void {
  for (const { request, number } of queue.slice(count, count + MOST_TOGETHER)) {
    if (request.asks !== 'chat' || request.alone) return
    if (!ahead.has(number)) ahead.set(number, conversation({ request, number }))
  }
}

function conversation({ request, number }: Numbered<ChatRequest>): Conversation | Answer {
  try {
    beginTemplate(request, number)
    const { messages, context, where } = request
    const answers = () =>
      new ChatTurns(templateOf(request.template), marks.get(request.tokens)!, messages, context, where).answers()
    return { request, number, ...speaking(request.voice, answers) }
  } catch (error) {
    return failure(error)
  }
}

interface Conversation extends Numbered<ChatRequest>, ChatAnswers {}

async function chatAnswer({ request, text, spans, turns, counts }: Conversation, tokens: EncodedText): Promise<Answer> {
  const alone = new Map<AnswerSpan, Int32Array>()
  for (const span of straddledSpans(tokens, spans)) {
    const continuation = await engineOf(request.continuation)
    alone.set(span, (await continuation.encode([text.slice(span.start, span.end)]))[0]!.ids)
  }
  const { beginning, where, voice } = request
  const { added } = await engineOf(request.tokenizer)
  const trained = speaking(voice, () => answerTokens(tokens, spans, alone, added, beginning, where))
  const isPlain = Object.values(counts).every((count) => count === 0)
  const value: ChatValue = {
    trained: trained.flatMap(({ start, end }) => [start, end]),
    turns: turnTokens(tokens, turns),
    ...(!isPlain && { counts }),
  }
  return { value, ids: tokens.ids }
}

/** Encodes the texts of requests together. If that fails, encodes each text alone, since one of them may be the cause. */
async function encoded<One extends Numbered<ChatRequest | EncodingRequest> & { text: string }>(
  batch: readonly One[],
  use: (one: One, text: EncodedText) => Answer | Promise<Answer>,
): Promise<Answer[]> {
  if (batch.length === 0) return []
  const [{ request, number }] = batch as readonly [One]
  const isOne = batch.length === 1
  const texts = batch.map(({ text }) => text)
  const characters = texts.reduce((sum, { length }) => sum + length, 0)
  const used = request.asks === 'chat' ? [request.tokenizer, request.continuation] : [request.tokenizer]
  const limit = () => beginTokenizer(used, characters, isOne ? number : undefined)
  limit()
  // Otherwise the template of a conversation would seem to be the cause of an end.
  if (isOne && request.asks === 'chat') writeSync(2, encodingWords(number))
  try {
    const engine = await engineOf(request.tokenizer)
    const encoding = engine.encode(texts)
    if (!isOne && request.asks === 'chat') {
      // Its failure is thrown below.
      encoding.catch(() => {})
      renderAhead(batch.length)
      limit()
    }
    const found = await encoding
    return await Promise.all(batch.map((one, i) => answerOf(() => use(one, found[i]!))))
  } catch (error) {
    if (isOne) return [failure(error)]
    const answers: Answer[] = []
    for (const one of batch) answers.push(...(await encoded([one], use)))
    return answers
  }
}

async function answerOf(work: () => Answer | Promise<Answer>): Promise<Answer> {
  try {
    return await work()
  } catch (error) {
    return failure(error)
  }
}

function failure(error: unknown): IsolatedAnswer {
  if (!(error instanceof MoraError)) return { fault: String((error as Error).stack) }
  const { code, message } = error
  return { error: { code, message, isUsage: error instanceof UsageError } }
}

// The parent process has work of its own, which goes first.
setPriority(constants.priority.PRIORITY_BELOW_NORMAL)
const current = new Int32Array(new SharedArrayBuffer(16))
const clock = new Worker(new URL('./clock.js', import.meta.url), { workerData: current })
const isTicking = once(clock, 'online')

/** Begins work, with limits of time [s] and process size [MiB]. */
function begin(seconds: number, mebibytes: number, request = -1): void {
  Atomics.store(current, place.request, request)
  Atomics.add(current, place.work, 1)
  Atomics.store(current, place.mebibytes, mebibytes)
  Atomics.store(current, place.seconds, seconds)
}

function beginTemplate({ messages }: { messages: readonly Message[] }, request: number): void {
  begin(templateSeconds(messages.length), 0, request)
}

/** @param wanted the ids of tokenizers; they are loaded if necessary */
function beginTokenizer(wanted: readonly number[], characters: number, request?: number): void {
  const unread = [...new Set(wanted)].map((id) => tokenizers.get(id)!)
  const read = unread.reduce((sum, one) => sum + (one instanceof TokenizerEngine ? 0 : one.json.length), 0)
  const { used, available } = memory()
  const most = used + tokenizerMebibytes(16 * read + characters, available)
  begin(loadSeconds(read) + encodeSeconds(characters), most, request)
}

let measured = { at: Number.NEGATIVE_INFINITY, used: 0, available: 0 }

/**
 * Returns the memory of the process and what is available to it [MiB] a short time ago at most, since asking for it takes as long
 * as encoding a few texts.
 */
function memory(): { used: number; available: number } {
  const at = performance.now()
  if (at - measured.at > 1000) {
    // It heeds the limit of a container; not every runtime has it.
    const free = process.availableMemory?.() ?? freemem()
    const [used, available] = [process.memoryUsage.rss(), free].map((bytes) => Math.ceil(bytes / 2 ** 20))
    measured = { at, used: used!, available: available! }
  }
  return measured
}

function end(): void {
  begin(0, 0)
}

const queue: Numbered[] = []
let received = 0

/** Sends answers before it begins the next work, so that the parent knows which requests may have ended the process. */
async function answerAll(): Promise<void> {
  await isTicking
  while (queue.length > 0) {
    const batch = nextBatch()
    const answers = await answersTo(batch)
    end()
    await new Promise((resolve) => process.send!(inOneArray(answers), undefined, undefined, resolve))
    queue.splice(0, batch.length)
  }
}

function inOneArray(answers: readonly Answer[]): Answers {
  const ids = new Int32Array(answers.reduce((sum, answer) => sum + (answer.ids?.length ?? 0), 0))
  let at = 0
  for (const answer of answers) {
    if (!answer.ids) continue
    ids.set(answer.ids, at)
    at += answer.ids.length
  }
  return { answers: answers.map(({ ids, ...answer }) => ({ ...answer, ...(ids && { tokens: ids.length }) })), ids }
}

process.on('message', ({ shared, requests }: Asked) => {
  const isBusy = queue.length > 0
  for (const one of shared) store(one)
  queue.push(...requests.map((request) => ({ request, number: received++ })))
  if (!isBusy) void answerAll()
})
// An exit would wait for the tokenizer, maybe forever.
process.on('disconnect', () => endThisProcess('SIGKILL'))
process.send!('started')
