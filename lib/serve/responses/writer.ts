/** Writes an answer as a response and its events. */
import { randomUUID } from 'node:crypto'
import type { AnswerEvent, AnswerWriter } from '../answer-chat.js'
import type { ApiError } from '../api-error.js'
import { responseLogProb } from '../logprobs.js'
import type { MessagePart, PartEvent } from '../message-parts.js'
import type { ResponseRequest } from './body.js'
import { encryptedOf } from './input.js'
import { namespacesOf, toldTool } from './tools.js'

type Status = 'in_progress' | 'completed' | 'incomplete' | 'failed'

/** An item of the output. */
type OutputItem = { readonly id: string; readonly type: string } & Readonly<Record<string, unknown>>

/** Names of the events of texts. */
const OF_TEXTS = {
  text: { part: 'content_part', text: 'output_text', index: 'content_index' },
  reasoning: { part: 'content_part', text: 'reasoning_text', index: 'content_index' },
  summary: { part: 'reasoning_summary_part', text: 'reasoning_summary_text', index: 'summary_index' },
} as const

const PREFIXES = { text: 'msg', reasoning: 'rs', call: 'fc' } as const

const newId = (prefix: string) => `${prefix}_${randomUUID().replaceAll('-', '')}`
const now = () => Math.floor(Date.now() / 1000)

export class ResponseWriter implements AnswerWriter {
  readonly isNamed = true
  readonly #id = newId('resp')
  readonly #created = now()
  readonly #output: OutputItem[] = []
  /** Id and log-probabilities of the open item. */
  #open = { id: '', logprobs: [] as object[] }
  #sequence = 0
  #whole: object = {}
  readonly #namespaces: ReturnType<typeof namespacesOf>

  constructor(
    readonly body: ResponseRequest,
    readonly model: string,
    /** Stores the items of the output. */
    readonly store: (items: readonly OutputItem[]) => void,
  ) {
    this.#namespaces = namespacesOf(body.tools)
  }

  get whole(): object {
    return this.#whole
  }

  failure({ status, message }: ApiError): object {
    const code = status === 429 ? 'rate_limit_exceeded' : status >= 500 ? 'server_error' : 'invalid_prompt'
    return this.#event('failed', { response: this.#response('failed', { error: { code, message } }) })
  }

  async *events(answer: AsyncIterable<AnswerEvent>): AsyncGenerator<object> {
    for await (const one of answer) {
      if (one.event === 'begin') {
        for (const type of ['created', 'in_progress'])
          yield this.#event(type, { response: this.#response('in_progress') })
      } else if (one.event === 'finish') yield* this.#finish(one)
      else yield* this.#part(one)
    }
  }

  *#part(one: PartEvent): Generator<object> {
    const { event, part } = one
    if (event === 'start') this.#open = { id: newId(PREFIXES[part.type]), logprobs: [] }
    const of = part.type === 'call' ? null : OF_TEXTS[this.#isSummary(part) ? 'summary' : part.type]
    const name = of?.text ?? 'function_call_arguments'
    const item = { output_index: this.#output.length }
    const place = { item_id: this.#open.id, ...item, ...(of && { [of.index]: 0 }) }
    if (event === 'start') {
      yield this.#event('output_item.added', { ...item, item: this.#item(part, 'in_progress') })
      if (of) yield this.#event(`${of.part}.added`, { ...place, part: this.#content(part) })
    } else if (event === 'delta') {
      const logprobs = one.logprobs.map(responseLogProb)
      this.#open.logprobs.push(...logprobs)
      yield this.#event(`${name}.delta`, { ...place, delta: one.delta, ...(part.type === 'text' && { logprobs }) })
    } else {
      const { text } = part
      const more = part.type === 'text' && { logprobs: this.#open.logprobs }
      const done = part.type === 'call' ? { name: this.#called(part).name, arguments: text } : { text, ...more }
      yield this.#event(`${name}.done`, { ...place, ...done })
      if (of) yield this.#event(`${of.part}.done`, { ...place, part: this.#content(part) })
      const whole = this.#item(part, one.isCut ? 'incomplete' : 'completed')
      this.#output.push(whole)
      yield this.#event('output_item.done', { ...item, item: whole })
    }
  }

  *#finish({ finishReason, whole }: AnswerEvent & { event: 'finish' }): Generator<object> {
    if (this.#output.length === 0) {
      // Clients look for a message.
      const part = { type: 'text', text: '' } as const
      yield* this.#part({ event: 'start', part })
      yield* this.#part({ event: 'end', part, isCut: finishReason === 'length' })
    }
    if (this.body.store) this.store(this.#output)
    const { promptTokens, cachedTokens = 0, newTokens, reasoningTokens = 0 } = whole
    const usage = {
      input_tokens: promptTokens,
      input_tokens_details: { cached_tokens: cachedTokens, cache_write_tokens: 0 },
      output_tokens: newTokens,
      output_tokens_details: { reasoning_tokens: reasoningTokens },
      total_tokens: promptTokens + newTokens,
    }
    const [status, more] =
      finishReason === 'length'
        ? (['incomplete', { incomplete_details: { reason: 'max_output_tokens' } }] as const)
        : (['completed', { completed_at: now() }] as const)
    this.#whole = this.#response(status, { ...more, usage })
    yield this.#event(status, { response: this.#whole })
  }

  #isSummary({ type }: MessagePart): boolean {
    return type === 'reasoning' && (this.body.reasoning.summary ?? null) !== null
  }

  /** Returns the name of a called function, and its namespace, if it has one. */
  #called({ name }: MessagePart & { type: 'call' }): { name: string; namespace?: string } {
    return this.#namespaces.get(name) ?? { name }
  }

  #event(type: string, fields: object): object {
    return { type: `response.${type}`, sequence_number: this.#sequence++, ...fields }
  }

  #content(part: MessagePart): object {
    const { type, text } = part
    if (type === 'text') return { type: 'output_text', text, annotations: [], logprobs: this.#open.logprobs }
    return { type: this.#isSummary(part) ? 'summary_text' : 'reasoning_text', text }
  }

  #item(part: MessagePart, status: Status): OutputItem {
    const { id } = this.#open
    const contents = status === 'in_progress' ? [] : [this.#content(part)]
    if (part.type === 'call') {
      const { id: callId, text } = part
      return { id, type: 'function_call', status, call_id: callId, ...this.#called(part), arguments: text }
    }
    if (part.type === 'text') return { id, type: 'message', status, role: 'assistant', content: contents }
    const isEncrypted = this.body.include.includes('reasoning.encrypted_content')
    return {
      id,
      type: 'reasoning',
      status,
      summary: this.#isSummary(part) ? contents : [],
      ...(!this.#isSummary(part) && { content: contents }),
      ...(isEncrypted && { encrypted_content: status === 'in_progress' ? null : encryptedOf(part.text) }),
    }
  }

  #response(status: Status, more: object = {}): object {
    const { body } = this
    return {
      id: this.#id,
      object: 'response',
      created_at: this.#created,
      status,
      background: false,
      completed_at: null,
      error: null,
      incomplete_details: null,
      instructions: body.instructions ?? null,
      max_output_tokens: body.max_output_tokens ?? null,
      metadata: body.metadata ?? {},
      model: this.model,
      output: [...this.#output],
      parallel_tool_calls: body.parallel_tool_calls,
      previous_response_id: null,
      reasoning: { effort: body.reasoning.effort ?? null, summary: body.reasoning.summary ?? null },
      service_tier: 'default',
      store: body.store,
      temperature: body.temperature,
      text: { ...body.text, format: body.text.format ?? { type: 'text' } },
      tool_choice: body.tool_choice,
      tools: body.tools.map(toldTool),
      top_logprobs: body.top_logprobs ?? 0,
      top_p: body.top_p ?? 1,
      truncation: 'disabled',
      ...(body.user !== undefined && { user: body.user }),
      ...more,
    }
  }
}
