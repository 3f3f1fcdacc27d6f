import { randomStream } from '../common/random.js'
import { resolveTools } from '../data/rows/tools.js'
import type { Tokenizer } from '../data/tokenizer/tokenizer.js'
import type { ContinuationRequest } from './continuation.js'
import { type GenerateOptions, limitsOf, splitCall } from './generate-options.js'
import type { LanguageModel } from './language-model.js'
import { promptTemplate, promptTokens, requireTokenizer } from './prompt.js'
import { stopTokens } from './stops.js'

/** Returns what a call asks an engine for. @param sample which of several texts of a prompt it is */
export async function textRequest(
  model: LanguageModel,
  call: GenerateOptions,
  sample = 0,
): Promise<ContinuationRequest & { readonly tokenizer: Tokenizer }> {
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
    signal,
  }
}
