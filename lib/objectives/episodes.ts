/** Episodes: completions of one turn, or of several turns with results of tools or replies of an environment between them. */

import type { Example } from '../batches/examples/example.js'
import { TaskGroup, withDeadline } from '../common/cancellation.js'
import { InputError, quoted, RunError, UsageError } from '../common/errors.js'
import { reasonOfCaller } from '../common/foreign-errors.js'
import { plainCopy } from '../common/plain-copy.js'
import { randomStream } from '../common/random.js'
import { inParallel } from '../common/task-limit.js'
import type { Engine } from '../engine/index.js'
import type { AnyRow } from '../rows/sources/source.js'
import { optionalInteger } from '../schema/option.js'
import type { Sampling } from '../tensor/operations/sampling.js'
import { encodePrompt } from '../text/prompt.js'
import type { Message } from '../text/template.js'
import type { Tokenizer } from '../text/tokenizer.js'
import { knownAnswerForm } from '../text/tool-calls/find-form.js'
import { answerMessage } from '../text/tool-calls/message.js'
import { type ParsedAnswer, parseAnswer } from '../text/tool-calls/reader.js'
import type { Question } from './questions.js'
import type { SampleContext } from './rollouts.js'
import { besideOthers, callTool, checkTools, replyText, requirePrintedTools, type Tools } from './tools.js'

/** The option for the length of a sampled completion. */
export const maxNewTokens = optionalInteger('maximum number of tokens per completion, over all turns', {
  min: 1,
  defaultText: '256',
})

/** The environment of a rollout. */
export interface Environment<Row = AnyRow> {
  /** Begins an episode for a row. A text that it returns follows the prompt as a user's message. */
  reset?(row: Row): unknown
  /** Returns the reply to a turn of the model that called no function; without a reply the episode ends. */
  step?(said: string): unknown
  /** Functions that the model may call. */
  readonly tools?: Tools
}

/** Options of playing episodes. */
interface EpisodeOptions {
  /** Maximum number of tokens of all turns, tool results and the environment's turns included. */
  readonly maxNewTokens: number
  /** Maximum number of the model's turns. */
  readonly maxTurns: number
  readonly sampling: Sampling
  /** JSON schema that the completion fits. */
  readonly schema?: unknown
  /** Whether to return log-probabilities (`sampled`). */
  readonly logprobs: boolean
  readonly tools: Tools
  readonly environment: (() => Environment) | undefined
  /** Time limit of a tool or the environment [s]. */
  readonly toolTimeout: number
}

/** A finished episode. */
export interface Episode {
  readonly question: Question
  /** Tokens after the prompt. */
  readonly ids: readonly number[]
  /** 1 for each token that the model wrote. */
  readonly mask: readonly number[]
  /** ln of the probability of each sampled token, before any option of sampling. */
  readonly sampled: readonly number[]
  /** Whether the model ended its last turn. */
  readonly hasEnded: boolean
  /** The text of the model's last turn. */
  readonly completion: string
  /** Messages after the prompt. */
  readonly messages: readonly Message[]
  readonly environment: Environment | undefined
  /** Calls of functions. */
  readonly calls: number
  /** Messages of failed calls. */
  readonly errors: readonly string[]
}

/** A question, and the index of its completion in the step, which seeds its sampling. */
interface AskedQuestion {
  readonly question: Question
  readonly place: number
}

/** Plays an episode for each question, all at once. If one fails, the others end. */
export async function playAll(
  asked: readonly AskedQuestion[],
  context: SampleContext,
  options: EpisodeOptions,
): Promise<Episode[]> {
  // A rank may have no row of a step.
  if (asked.length === 0) return []
  const group = new TaskGroup(context.signal)
  const { signal } = group
  await using engine = context.openEngine(asked.map(({ question }) => question.ids.length + options.maxNewTokens))
  const play = (one: AskedQuestion) => group.run(() => playEpisode(one, engine, { ...context, signal }, options))
  return await inParallel(asked, asked.length, play)
}

/** Returns an episode as it is trained. @param isLeftOut whether no token is, as only the number of answers counts */
export function trainedEpisode({ question, ids, mask }: Episode, { isLeftOut = false } = {}): Example {
  const { weight } = question
  const document = {
    ids: Int32Array.from([...question.ids, ...ids]),
    mask: Uint8Array.from([...question.mask, ...mask.map((trained) => (isLeftOut ? 0 : trained))]),
  }
  return { documents: [document], ...(weight !== undefined && { weight }) }
}

async function playEpisode(
  { question, place }: AskedQuestion,
  engine: Engine,
  context: SampleContext,
  options: EpisodeOptions,
): Promise<Episode> {
  const { tokenizer, seed, draws, stopIds, signal } = context
  const { sampling, schema } = options
  const topLogprobs = options.logprobs ? 0 : undefined
  const limit = { seconds: options.toolTimeout, signal }
  const environment = await newEnvironment(options.environment, limit)
  const tools = { ...options.tools, ...environment?.tools }
  const opening = await answerOf("environment's reset", () => environment?.reset?.(plainCopy(question.row)), limit)
  const asked = await withOpening(question, opening, environment?.tools, tokenizer)
  const transcript = new Transcript(asked, tokenizer)
  let completion = ''
  let hasEnded = false
  let calls = 0
  const errors: string[] = []
  for (let turn = 0; turn < options.maxTurns; turn++) {
    const left = options.maxNewTokens - transcript.ids.length
    if (left < 1) break
    const random = randomStream(seed, 'rollout', draws, place, turn)
    const ids = [...asked.ids, ...transcript.ids]
    const constraint = schema === undefined ? undefined : await context.openConstraint(schema)
    const request = { ids, maxNewTokens: left, sampling, constraint, topLogprobs, stopIds, random, signal }
    const written: number[] = []
    try {
      const tokens = engine.write(request)
      let next = await tokens.next()
      for (; !next.done; next = await tokens.next()) {
        written.push(next.value.id)
        transcript.write(next.value)
      }
      hasEnded = next.value === 'stop'
    } finally {
      constraint?.dispose()
    }
    const body = hasEnded ? written.slice(0, -1) : written
    const answer = await read(asked, body, { tokenizer, tools })
    completion = answer?.content ?? (await tokenizer.decode(body, { skipSpecialTokens: true }))
    transcript.messages.push(answer ? answerMessage(answer) : { role: 'assistant', content: completion })
    if (!hasEnded) break
    const results = answer?.toolCalls.map(async (call): Promise<Message> => {
      const { content, error } = await callTool(tools, call, limit)
      if (error !== undefined) errors.push(error)
      return { role: 'tool', name: call.name, content, ...(call.id !== undefined && { tool_call_id: call.id }) }
    })
    calls += results?.length ?? 0
    const replies = results?.length ? await Promise.all(results) : await replyOf(environment, completion, limit)
    if (replies.length === 0) break
    await transcript.reply(replies, written.at(-1)!)
    // Unless the model goes on.
    hasEnded = false
  }
  const { messages } = transcript
  return { question: asked, ...transcript.untilLastTurn(), hasEnded, completion, messages, environment, calls, errors }
}

/** Makes the environment of an episode, if there is one. @throws RunError `failed-environment`; UsageError for what is none */
async function newEnvironment(make: EpisodeOptions['environment'], limit: Limit): Promise<Environment | undefined> {
  if (!make) return undefined
  const made = await answerOf('environment', make, limit)
  if (typeof made !== 'object' || made === null) {
    const expected = 'an object with reset, step or tools'
    throw new UsageError('bad-value', `Expected ${expected} from environment but received ${quoted(made)}.`)
  }
  const environment: Environment = made
  for (const name of ['reset', 'step'] as const) {
    const own = environment[name]
    if (own === undefined || typeof own === 'function') continue
    throw new UsageError('bad-value', `Expected a function for ${name} of environment but received ${quoted(own)}.`)
  }
  if (environment.tools !== undefined) checkTools(environment.tools, 'environment')
  return environment
}

type Limit = Parameters<typeof withDeadline>[1]

/** Asks an environment, or what makes one. @throws RunError `failed-environment` */
async function answerOf(name: string, ask: () => unknown, limit: Limit): Promise<unknown> {
  try {
    const answer = await withDeadline(async () => ask(), limit)
    return typeof answer === 'string' ? replyText(answer) : answer
  } catch (cause) {
    limit.signal?.throwIfAborted()
    throw new RunError('failed-environment', `The ${name} failed: ${reasonOfCaller(cause)}.`, { cause })
  }
}

/** Returns the environment's reply to a turn; nothing at the end. */
async function replyOf(environment: Environment | undefined, said: string, limit: Limit): Promise<Message[]> {
  const content = await answerOf("environment's step", () => environment?.step?.(said), limit)
  return typeof content === 'string' ? [{ role: 'user', content }] : []
}

/** Reads the calls in a turn; null where no function is known. */
async function read(
  { template, context }: Question,
  turn: readonly number[],
  { tokenizer, tools }: { tokenizer: Tokenizer; tools: Tools },
): Promise<ParsedAnswer | null> {
  if (!template || Object.keys(tools).length === 0) return null
  return parseAnswer(await tokenizer.decode(turn), {
    form: await knownAnswerForm(template, context),
    tools: context.tools ?? null,
  })
}

/** Returns the question with what an environment adds to it. */
async function withOpening(
  question: Question,
  opening: unknown,
  own: Tools | undefined,
  tokenizer: Tokenizer,
): Promise<Question> {
  if (typeof opening !== 'string' && !own) return question
  if (own) requirePrintedTools(own, question.template)
  const { template, messages, prompt } = question
  const tools = besideOthers(question.context.tools ?? [], own ?? {})
  const context = { ...question.context, tools: tools.length > 0 ? tools : null }
  const more: Message[] = typeof opening === 'string' ? [{ role: 'user', content: opening }] : []
  const turns = messages && [...messages, ...more]
  const asked = turns ? { messages: turns } : { prompt: [prompt, opening].filter(Boolean).join('\n') }
  const ids = Int32Array.from(await encodePrompt(tokenizer, template, { ...asked, ...context }))
  return { ...question, ids, mask: new Uint8Array(ids.length), messages: turns, context }
}

/** The tokens and messages after a prompt. */
class Transcript {
  readonly ids: number[] = []
  readonly mask: number[] = []
  readonly sampled: number[] = []
  readonly messages: Message[] = []
  readonly #question: Question
  readonly #tokenizer: Tokenizer

  constructor(question: Question, tokenizer: Tokenizer) {
    this.#question = question
    this.#tokenizer = tokenizer
  }

  /** Adds a sampled token. */
  write({ id, logprob }: { id: number; logprob?: number }): void {
    this.ids.push(id)
    this.mask.push(1)
    if (logprob !== undefined) this.sampled.push(logprob)
  }

  /** Returns all tokens up to the model's last. */
  untilLastTurn(): Pick<Episode, 'ids' | 'mask' | 'sampled'> {
    const end = this.mask.lastIndexOf(1) + 1
    return { ids: this.ids.slice(0, end), mask: this.mask.slice(0, end), sampled: this.sampled }
  }

  /**
   * Adds messages after a turn of the model's, and the opening of its next turn. What the model wrote stays as it is.
   * @param end the token that ended the turn
   * @throws InputError `unfit-template` if the template writes earlier turns otherwise before them
   */
  async reply(messages: readonly Message[], end: number): Promise<void> {
    const text = await this.#textAfter(messages, this.#tokenizer.tokenOf(end) ?? '')
    const ids = await this.#tokenizer.encodeContinuation(text)
    this.ids.push(...ids)
    this.mask.push(...ids.map(() => 0))
    this.messages.push(...messages)
  }

  async #textAfter(messages: readonly Message[], end: string): Promise<string> {
    const { template, messages: asked, context } = this.#question
    if (!template) return messages.map(({ content }) => `\n${content}\n`).join('')
    const so = [...asked!, ...this.messages]
    const before = await template.render(so, { ...context, addGenerationPrompt: false })
    const after = await template.render([...so, ...messages], { ...context, addGenerationPrompt: true })
    if (after.startsWith(before)) {
      const rest = before.lastIndexOf(end)
      return before.slice(end === '' || rest < 0 ? before.length : rest + end.length) + after.slice(before.length)
    }
    throw new InputError(
      'unfit-template',
      'The chat template writes earlier turns otherwise once others follow, so episodes of several turns cannot be trained with it; use another template.',
    )
  }
}
