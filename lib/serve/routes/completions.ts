/** `POST /v1/completions`: texts that continue prompts. */
import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { aFlag, wholeBetween } from '../../common/arguments.js'
import {
  type GeneratedPiece,
  type GenerateOptions,
  type GenerateResult,
  requireTokenizer,
} from '../../generate/index.js'
import { readBody } from '../body.js'
import { eventStream } from '../event-stream.js'
import { parseFields, wrongField } from '../fields.js'
import { completionLogProbs } from '../logprobs.js'
import { promptsField, promptsOf, requireRoom } from '../prompts.js'
import { limitField, limitOf, requireStream, samplingFields, samplingOf } from '../sampling.js'
import type { Serving } from '../serving.js'
import { refuseUnsupported, unsupportedOfCompletions } from '../unsupported.js'
import { type TextEvent, usageOf, wholeTexts, writeTexts } from '../write-texts.js'

const CompletionBody = z.looseObject({
  ...samplingFields,
  prompt: promptsField,
  max_tokens: limitField(0).default(16),
  echo: aFlag.default(false),
  logprobs: wholeBetween(0, 20).optional(),
})
type CompletionRequest = z.output<typeof CompletionBody>

export async function completions(request: Request, serving: Serving): Promise<Response> {
  const given = await readBody(request, serving.maxBodyBytes)
  refuseUnsupported(given, unsupportedOfCompletions)
  const body = parseFields(CompletionBody, given)
  refuseUnsupported(given, { best_of: { neutral: [body.n], instead: 'ask for n texts' } })
  requireStream(body)
  const { model, engine } = serving
  const { n, max_tokens: maxTokens, echo, logprobs } = body
  if (maxTokens === 0 && !echo) throw wrongField('max_tokens', 'Expected at least 1 for max_tokens without echo.')
  if (body.stream && echo && logprobs !== undefined) {
    throw wrongField('stream', 'Log-probabilities of a prompt are not streamed; leave out stream or echo.')
  }
  // The response has only texts.
  requireTokenizer(model)
  const prompts = promptsOf(body.prompt, 'prompt', model)
  for (const prompt of prompts) requireRoom([prompt], 'prompt', model)
  const shared = {
    ...samplingOf(body, model),
    // A text has at least one token: a greedy one is the least work.
    ...(maxTokens === 0 && { temperature: 0 }),
    raw: true,
    maxNewTokens: limitOf(maxTokens, model),
    ...(logprobs !== undefined && { logprobs: true, topLogprobs: logprobs }),
  }
  const active = await serving.requests.admit(body.model, prompts.length * n, request)
  try {
    // Made once their number is accepted: a body may hold hundreds of thousands of prompts.
    const calls = prompts.flatMap((prompt) =>
      Array.from({ length: n }, (_, sample): GenerateOptions => {
        const call = { ...shared, prompt }
        // The first text of a prompt has the log-probabilities of the prompt for all.
        return echo && logprobs !== undefined && sample === 0 ? { ...call, promptLogprobs: true } : call
      }),
    )
    const echoed = await Promise.all(prompts.map(async (prompt) => (echo ? textOf(prompt, serving) : '')))
    const response = new CompletionResponse(body, active.used.model, echoed)
    if (body.stream)
      return await eventStream(response.events(writeTexts(engine, { calls, n }, active)), active, serving.onError)
    const texts = await wholeTexts(engine, { calls, n }, active)
    return Response.json({ ...response.head, choices: texts.map(response.choice), usage: usageOf(texts, n) })
  } catch (error) {
    active.end()
    throw error
  }
}

async function textOf(prompt: string | readonly number[], { model }: Serving): Promise<string> {
  return typeof prompt === 'string' ? prompt : requireTokenizer(model).decode(prompt)
}

class CompletionResponse {
  readonly head: object

  constructor(
    readonly body: CompletionRequest,
    model: string,
    /** The text before the completions of each prompt. */
    readonly echoed: readonly string[],
  ) {
    const created = Math.floor(Date.now() / 1000)
    this.head = { id: `cmpl-${randomUUID()}`, object: 'text_completion', created, model }
  }

  readonly choice = (whole: GenerateResult, index: number, all: readonly GenerateResult[]): object => {
    const { text, logprobs = [], finishReason } = this.#newTextOf(whole)
    const { promptLogprobs = [] } = all[index - (index % this.body.n)]!
    return {
      index,
      text: this.#echoOf(index) + text,
      finish_reason: finishReason,
      logprobs: this.#logprobs([...promptLogprobs, ...logprobs], 0),
    }
  }

  async *events(texts: AsyncIterable<TextEvent>): AsyncGenerator<object> {
    const withUsage = this.body.stream_options?.include_usage === true
    const head = { ...this.head, ...(withUsage && { usage: null }) }
    const wholes: GenerateResult[] = []
    const lengths: number[] = []
    for await (const event of texts) {
      if ('prompt' in event) continue
      const { index } = event
      const isFirst = lengths[index] === undefined
      lengths[index] ??= this.#echoOf(index).length
      const end = 'whole' in event ? event.whole : null
      const { text, logprobs } = 'whole' in event ? { text: '', logprobs: [] } : this.#newTextOf(event.piece)
      const choice = {
        index,
        text: (isFirst ? this.#echoOf(index) : '') + text,
        finish_reason: end && this.#newTextOf(end).finishReason,
        logprobs: this.#logprobs(logprobs ?? [], lengths[index]),
      }
      lengths[index] += text.length
      if (end) wholes[index] = end
      yield { ...head, choices: [choice] }
    }
    if (withUsage) yield { ...head, choices: [], usage: usageOf(wholes, this.body.n) }
  }

  #echoOf(index: number): string {
    return this.echoed[Math.floor(index / this.body.n)]!
  }

  /** Removes the one token that a completion without new tokens has, too. */
  #newTextOf<Part extends GeneratedPiece>(part: Part): Part {
    return this.body.max_tokens === 0 ? { ...part, text: '', logprobs: [], finishReason: 'length' } : part
  }

  #logprobs(tokens: Parameters<typeof completionLogProbs>[0], offset: number): object | null {
    return this.body.logprobs === undefined ? null : completionLogProbs(tokens, offset)
  }
}
