import { setMaxListeners } from 'node:events'
import { UsageError } from '../common/errors.js'
import { optionName, TheOption, theOption } from '../common/option-names.js'
import { randomStream } from '../common/random.js'
import { type Engine, type FinishReason, requireTokens } from '../engine/index.js'
import { jsonIn, readJsonObject } from '../io/json.js'
import type { ModelView } from '../models/index.js'
import type { constraintOptions } from '../options/constraint.js'
import type { GenerateSettings } from '../options/index.js'
import { resolveTools } from '../rows/tools.js'
import type { NewToken, RankedToken } from '../tensor/operations/sampling.js'
import type { ChatTemplate, TemplateContext } from '../text/template.js'
import { textsOf } from '../text/templates/messages.js'
import type { Tokenizer } from '../text/tokenizer.js'
import { knownAnswerForm } from '../text/tool-calls/find-form.js'
import type { ReasoningTags } from '../text/tool-calls/forms.js'
import { AnswerReader } from '../text/tool-calls/reader.js'
import { allowOnly } from './constraints/allowed-tokens.js'
import { type Constraint, type ConstraintTokens, openConstraint } from './constraints/constraint.js'
import {
  type GeneratedPiece,
  type GenerateResult,
  type TextRequest,
  textOfToken,
  textOfTokens,
  tokenText,
} from './continuation.js'
import { type GenerateOptions, limitsOf, splitCall } from './generate-options.js'
import { promptTemplate, promptTokens, requireTokenizer } from './prompt.js'
import { PromptScorer } from './prompt-logprobs.js'
import { stopTokens } from './stops.js'

/** Options that need a tokenizer. */
const OF_TEXTS = ['stop', 'badWords', 'schema', 'grammar', 'regex', 'choices'] as const

/** Returns the request of a call. @param sample index among several texts of one prompt */
export async function textRequest(model: ModelView, call: GenerateOptions, sample = 0): Promise<TextRequest> {
  const { signal, ...given } = call
  signal?.throwIfAborted()
  // Many texts may have one signal.
  if (signal) setMaxListeners(0, signal)
  const { options, extras } = splitCall(given)
  const { system, templateOptions, seed } = options
  const { prompt, messages, continueFinalMessage, addGenerationPrompt, onBegin, onWarning } = extras
  // Ids need a tokenizer only for options of texts.
  const isOfIds = Array.isArray(prompt) && OF_TEXTS.every((name) => [options[name] ?? []].flat().length === 0)
  const tokenizer = isOfIds ? model.tokenizer : requireTokenizer(model)
  if (!tokenizer) onWarning?.('The model has no tokenizer, so texts are empty: read the ids of the result.')
  const template = Array.isArray(prompt) ? null : await promptTemplate(model, options, onWarning)
  const tools = await resolveTools(options.tools)
  if (tools?.length && template) await requireToolTemplate(template, { tools, templateOptions })
  const ending = { continueFinalMessage, addGenerationPrompt }
  const conversation = { prompt, system, messages, tools, templateOptions, ...ending }
  const ids = await promptTokens(model, template, conversation, signal)
  const stopIds = await stopIdsOf(options, model, template)
  return {
    tokenizer,
    ids,
    ...(await limitsOf(options, tokenizer)),
    random: sample === 0 ? randomStream(seed, 'generate') : randomStream(seed, 'generate', sample),
    stopIds,
    reader:
      template && (extras.parse ?? tools !== undefined)
        ? await readerOf(template, { tools, templateOptions }, beginningOf(conversation))
        : undefined,
    includeStop: options.includeStop,
    // Opened last: the caller disposes of it with the request.
    constraint: await constraintOfRequest(options, model, tokenizer, [...stopIds], signal),
    promptTop: options.promptLogprobs ? options.topLogprobs : undefined,
    onBegin: (cachedTokens) => onBegin?.({ promptTokens: ids.length, cachedTokens }),
    signal,
  }
}

/** Returns the tokens that end the text. */
async function stopIdsOf(
  { stopTokens: given = [], ignoreEos }: GenerateSettings,
  model: ModelView,
  template: ChatTemplate | null,
): Promise<ReadonlySet<number>> {
  requireTokens('stopTokens', given, model.config.vocabularySize)
  return new Set([...(ignoreEos ? [] : await stopTokens(model, template)), ...given])
}

/** Returns the constraint of the options, which may limit the tokens too. */
async function constraintOfRequest(
  options: GenerateSettings,
  { config }: ModelView,
  tokenizer: Tokenizer | null,
  eosIds: readonly number[],
  signal: AbortSignal | undefined,
): Promise<Constraint | undefined> {
  const { allowedTokens, ignoreEos } = options
  const { vocabularySize } = config
  requireTokens('allowedTokens', allowedTokens ?? [], vocabularySize)
  const constraint = tokenizer ? await constraintOf(options, { tokenizer, vocabularySize, eosIds }, signal) : undefined
  if (constraint && ignoreEos) {
    constraint.dispose()
    throw new UsageError(
      'unfit-options',
      `${TheOption('ignoreEos')} cannot be combined with a constraint, which ends at the end of its text.`,
      { option: 'ignoreEos' },
    )
  }
  return allowedTokens ? allowOnly(allowedTokens, vocabularySize, constraint) : constraint
}

/** @throws UsageError `unfit-template` if the template neither prints the tools nor calls, so that they would change nothing */
async function requireToolTemplate(template: ChatTemplate, context: TemplateContext): Promise<void> {
  if (template.readsTools || (await knownAnswerForm(template, context)).readsCalls) return
  throw new UsageError(
    'unfit-template',
    `The chat template prints no tools, so the model would not see them; leave out ${optionName('tools')}, or name a template that prints them (${theOption('template')}).`,
  )
}

/** Returns the part of the answer that the messages have; undefined where a turn begins by the template. */
function beginningOf({
  messages,
  continueFinalMessage = false,
  addGenerationPrompt = true,
}: Pick<GenerateOptions, 'messages' | 'continueFinalMessage' | 'addGenerationPrompt'>): string | undefined {
  if (continueFinalMessage) return textsOf(messages!.at(-1)!).at(-1)!
  return addGenerationPrompt ? undefined : ''
}

/** Returns a reader of an answer to a template. @param beginning the part of the answer that the conversation has */
async function readerOf(template: ChatTemplate, context: TemplateContext, beginning?: string): Promise<AnswerReader> {
  const form = await knownAnswerForm(template, context)
  const isOpen = ({ open, close }: ReasoningTags) => beginning!.lastIndexOf(open) > beginning!.lastIndexOf(close)
  // What is added to reasoning is reasoning; the reader gets no text that is not added.
  const prefill = beginning === undefined ? form.prefill : (form.reasoning.find(isOpen)?.open ?? '')
  return new AnswerReader({ form, prefill, tools: context.tools ?? null })
}

/** Opens the constraint of some options; returns undefined if they have none. */
export async function constraintOf(
  {
    schema: schemaOption,
    jsonSpacing,
    grammar,
    regex,
    choices,
  }: Pick<GenerateSettings, keyof typeof constraintOptions>,
  { tokenizer, vocabularySize, eosIds }: ConstraintTokens,
  signal: AbortSignal | undefined,
): Promise<Constraint | undefined> {
  const schema = typeof schemaOption === 'string' ? await schemaIn(schemaOption) : schemaOption
  const options = Object.entries({ schema, grammar, regex, choices }).filter(([, value]) => value !== undefined)
  if (options.length === 0) return undefined
  return openConstraint(
    { ...Object.fromEntries(options), jsonSpacing },
    { tokenizer, ...(vocabularySize && { vocabularySize }), eosIds },
    signal,
  )
}

/** Returns a schema from JSON, or from the file of a path. */
async function schemaIn(text: string): Promise<unknown> {
  const isJson = /^\s*[{tf]/.test(text) && jsonIn(text) !== undefined
  return isJson ? jsonIn(text) : readJsonObject(text)
}

/**
 * Yields the text of a request; its return value is the complete result.
 *
 * @param model the engine's, with the request's adapters
 * @param scorer ranks the prompt, if its log-probabilities are requested
 */
export async function* writtenText(
  model: ModelView,
  engine: Engine,
  request: TextRequest,
  scorer = new PromptScorer(),
): AsyncGenerator<GeneratedPiece, GenerateResult> {
  const { constraint } = request
  try {
    const ranked = await rankedPrompt(model, request, scorer)
    let cachedTokens: number | undefined
    const onBegin = (count: number) => {
      // A sequence that is preempted before its first token begins again.
      if (cachedTokens === undefined) request.onBegin?.(count)
      cachedTokens = count
    }
    const isRanked = ranked && isOneGreedyToken(request)
    if (isRanked) onBegin(0)
    const tokens = isRanked ? oneToken(ranked.next, request) : engine.write({ ...request, onBegin })
    const written = yield* textOfTokens(tokens, request)
    const result = { ...written, ...(cachedTokens && { cachedTokens }) }
    return ranked ? { ...result, promptLogprobs: await logprobsOfPrompt(ranked.tokens, request) } : result
  } finally {
    constraint?.dispose()
  }
}

async function rankedPrompt(model: ModelView, { ids, promptTop, signal }: TextRequest, scorer: PromptScorer) {
  // The engine refuses a prompt that is too long.
  if (promptTop === undefined || ids.length >= model.config.maxPositions) return null
  return scorer.rank({ view: model, ids, top: promptTop }, signal)
}

/** Whether the text is only the likeliest token after the prompt, which a ranked prompt has. */
const isOneGreedyToken = ({ maxNewTokens, sampling, edits, constraint }: TextRequest): boolean =>
  maxNewTokens === 1 && sampling.temperature === 0 && !edits && !constraint

async function* oneToken(
  { id, ...ranked }: RankedToken,
  { stopIds, topLogprobs }: TextRequest,
): AsyncGenerator<NewToken, FinishReason> {
  yield topLogprobs === undefined ? { id } : { id, ...ranked }
  return stopIds.has(id) ? 'stop' : 'length'
}

async function logprobsOfPrompt(
  tokens: readonly RankedToken[],
  { ids, tokenizer }: TextRequest,
): Promise<NonNullable<GenerateResult['promptLogprobs']>> {
  const [first] = ids as [number]
  const others = await Promise.all(tokens.map((token) => tokenText(token, tokenizer)))
  return [{ id: first, token: await textOfToken(first, tokenizer), logprob: null }, ...others]
}
