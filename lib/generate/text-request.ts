import { UsageError } from '../common/errors.js'
import { randomStream } from '../common/random.js'
import { resolveTools } from '../data/rows/tools.js'
import type { Tokenizer } from '../data/tokenizer/tokenizer.js'
import type { EngineRequest } from '../engine/index.js'
import { Model, ModelView } from '../models/index.js'
import {
  type ContinuationRequest,
  type GeneratedPiece,
  type GenerateResult,
  textOfTokens,
  tokenText,
} from './continuation.js'
import { type GenerateOptions, limitsOf, splitCall } from './generate-options.js'
import type { LanguageModel } from './language-model.js'
import { promptTemplate, promptTokens, requireTokenizer } from './prompt.js'
import { rankPrompt } from './prompt-logprobs.js'
import { stopTokens } from './stops.js'
import type { SequenceWriter } from './writer.js'

/** What a call asks an engine for. */
export interface TextRequest extends ContinuationRequest {
  readonly tokenizer: Tokenizer
  /** Number of likeliest tokens to list with the probability of each token of the prompt; undefined: no probabilities. */
  readonly promptTop: number | undefined
}

/** Returns what a call asks an engine for. @param sample which of several texts of a prompt it is */
export async function textRequest(model: LanguageModel, call: GenerateOptions, sample = 0): Promise<TextRequest> {
  const { signal, ...given } = call
  signal?.throwIfAborted()
  const { options, extras } = splitCall(given)
  const { system, templateOptions, seed } = options
  const { prompt, messages, onWarning } = extras
  const tokenizer = requireTokenizer(model)
  const template = Array.isArray(prompt) ? null : await promptTemplate(model, options, onWarning)
  const tools = await resolveTools(options.tools)
  const asked = { prompt, system, messages, tools, templateOptions }
  return {
    tokenizer,
    ids: await promptTokens(model, template, asked, signal),
    ...(await limitsOf(options, tokenizer)),
    random: sample === 0 ? randomStream(seed, 'generate') : randomStream(seed, 'generate', sample),
    stopIds: await stopTokens(model, template),
    promptTop: options.promptLogprobs ? options.topLogprobs : undefined,
    signal,
  }
}

/** Yields the text that a writer writes; its return value is the complete result. */
export async function* writtenText(
  model: LanguageModel,
  writer: Pick<SequenceWriter, 'write'>,
  request: TextRequest & Pick<EngineRequest, 'adapters'>,
): AsyncGenerator<GeneratedPiece, GenerateResult> {
  const { ids, tokenizer, promptTop } = request
  if (promptTop === undefined) return yield* textOfTokens(writer.write(request), request)
  if (!(model instanceof Model || model instanceof ModelView))
    throw new UsageError('unfit-options', 'Log-probabilities of a prompt need a model as loadModel gives them.')
  const ranked = await rankPrompt(model, ids, promptTop)
  const [first] = ids as [number]
  const others = await Promise.all(ranked.map((token) => tokenText(token, tokenizer)))
  const promptLogprobs = [{ id: first, token: await tokenizer.decode([first]), logprob: null }, ...others]
  return { ...(yield* textOfTokens(writer.write(request), request)), promptLogprobs }
}
