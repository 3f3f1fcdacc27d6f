import { check } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { randomStream } from '../common/random.js'
import { resolveTools } from '../data/rows/tools.js'
import { Model, ModelView } from '../models/index.js'
import { continueText, drain, type GenerateResult } from './continuation.js'
import { type GenerateOptions, generateArguments, limitsOf, splitCall } from './generate-options.js'
import { type LanguageModel, withAdaptersOf } from './language-model.js'
import { promptTemplate, promptTokens } from './prompt.js'
import { PromptCache } from './prompt-cache.js'
import { stopTokens } from './stops.js'
import { TextEngine } from './text-engine.js'

/**
 * Generates text after a prompt. With the model's chat template (unless `raw`), the prompt is a user's turn and the text
 * the assistant's answer.
 *
 * ```ts
 * import { generate, loadModel } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const { text, finishReason } = await generate(model, { prompt: 'How many legs have 3 cats?', maxNewTokens: 64 })
 * ```
 *
 * With `prompts`, or `n` texts of a prompt, it writes many at once, and the result is a list. Each text is what it would be alone.
 *
 * @throws UsageError for options that are wrong or do not fit the model, and for prompts that fill its context; the reason of
 * an aborted `signal`
 */
export async function generate(
  model: LanguageModel,
  call: GenerateOptions & ({ prompts: readonly string[] } | { n: number }),
): Promise<GenerateResult[]>
export async function generate(model: LanguageModel, call: GenerateOptions): Promise<GenerateResult>
export async function generate(
  model: LanguageModel,
  call: GenerateOptions,
): Promise<GenerateResult | GenerateResult[]> {
  check({ model, call }, generateArguments)
  if (call.prompts === undefined && call.n === undefined) return drain(generateStream(model, call), call.onText)
  return generateMany(model, call)
}

async function generateMany(
  model: LanguageModel,
  { prompts, n = 1, ...call }: GenerateOptions,
): Promise<GenerateResult[]> {
  if (!(model instanceof Model || model instanceof ModelView))
    throw new UsageError('unfit-options', 'prompts and n need a model as loadModel gives them.')
  if (prompts && (call.prompt !== undefined || call.messages !== undefined))
    throw new UsageError('unfit-options', 'Expected either prompts, or a prompt or messages.')
  const calls = (prompts?.map((prompt) => ({ ...call, prompt })) ?? [call]).flatMap(
    (one) => new Array(n).fill(one) as GenerateOptions[],
  )
  await using engine = new TextEngine(model, { sequences: Math.min(calls.length, 32) })
  return await Promise.all(calls.map((one, i) => engine.generate(one, i % n)))
}

/**
 * Like `generate`, but yields the text in pieces of whole characters; the generator's return value is the result. To stop
 * early, leave the loop. `onText` is not called.
 *
 * ```ts
 * import { generateStream, loadModel } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * for await (const piece of generateStream(model, { prompt: 'Count to ten.', maxNewTokens: 40, temperature: 0.7 })) {
 *   process.stdout.write(piece)
 * }
 * ```
 */
export async function* generateStream(
  model: LanguageModel,
  call: GenerateOptions,
): AsyncGenerator<string, GenerateResult> {
  check({ model, call }, generateArguments)
  const { signal, ...given } = call
  signal?.throwIfAborted()
  const { options, extras } = splitCall(given)
  const adapted = withAdaptersOf(model, extras.adapters)
  const template = await promptTemplate(adapted, options, extras.onWarning)
  const { prompt, system, templateOptions } = options
  const tools = await resolveTools(options.tools)
  const ids = await promptTokens(
    adapted,
    template,
    { prompt, system, messages: extras.messages, tools, templateOptions },
    signal,
  )
  const cache = new PromptCache(adapted)
  try {
    const random = randomStream(options.seed, 'generate')
    const stopIds = await stopTokens(adapted, template)
    const pieces = continueText(cache, { ...limitsOf(options, extras), ids, random, stopIds, signal })
    for (;;) {
      const next = await pieces.next()
      if (next.done) return next.value
      if (next.value.text !== '') yield next.value.text
    }
  } finally {
    cache.dispose()
  }
}
