/** The process in which chat templates are rendered: it answers requests in their order. */
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
import { mostSeconds } from './limits.js'

/** What many requests are about is sent once. */
export type Shared = { id: number } & ({ template: TemplateDefinition } | { tokens: readonly AddedToken[] })

export type Request = { template: number; messages: readonly Message[] } & (
  | { asks: 'text'; options: RenderOptions }
  | { asks: 'answers'; tokens: number; context: TemplateContext; where: string }
)

/** A request, and what it is about where that was not sent before. */
export interface Asked {
  shared: readonly Shared[]
  request: Request
}

export type Answer =
  | { value: unknown }
  | { error: { code: string; message: string; isUsage: boolean } }
  | { fault: string }

const templates = new Map<number, TemplateDefinition | CompiledTemplate>()
const marks = new Map<number, TokenMarks>()

function take(shared: Shared): void {
  if ('template' in shared) templates.set(shared.id, shared.template)
  else marks.set(shared.id, new TokenMarks(shared.tokens))
}

function templateOf(id: number): CompiledTemplate {
  const known = templates.get(id)!
  if (known instanceof CompiledTemplate) return known
  const compiled = new CompiledTemplate(known)
  templates.set(id, compiled)
  return compiled
}

function resultOf(request: Request): unknown {
  const template = templateOf(request.template)
  const { messages } = request
  if (request.asks === 'text') return template.render(messages, request.options)
  const turns = new ChatTurns(template, marks.get(request.tokens)!, messages, request.context, request.where)
  return { text: turns.text, ...turns.answers() }
}

function answerTo({ shared, request }: Asked): Answer {
  try {
    for (const one of shared) take(one)
    return { value: resultOf(request) }
  } catch (error) {
    if (!(error instanceof MoraError)) return { fault: String((error as Error).stack) }
    const { code, message } = error
    return { error: { code, message, isUsage: error instanceof UsageError } }
  }
}

/** How many requests were begun, and how long the one in work may take [s]: 0 between two. */
const current = new Int32Array(new SharedArrayBuffer(8))
const clock = new Worker(new URL('./clock.js', import.meta.url), { workerData: current })
const isTicking = once(clock, 'online')

const queue: Uint8Array[] = []

/** Each answer is on its way before the next request is begun, so that who asks knows which one was the last. */
async function answerAll(): Promise<void> {
  await isTicking
  while (queue.length > 0) {
    const asked = deserialize(queue[0]!) as Asked
    Atomics.add(current, 0, 1)
    Atomics.store(current, 1, mostSeconds(asked.request.messages.length))
    const answer = answerTo(asked)
    Atomics.store(current, 1, 0)
    await new Promise((resolve) => process.send!(answer, undefined, undefined, resolve))
    queue.shift()
  }
}

process.on('message', (asked: Uint8Array[]) => {
  queue.push(...asked)
  if (queue.length === asked.length) void answerAll()
})
process.on('disconnect', () => process.exit())
process.send!('started')
