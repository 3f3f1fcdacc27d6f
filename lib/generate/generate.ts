import { check } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import { Engine } from '../engine/index.js'
import type { LoadedModel } from '../models/index.js'
import { drain, type GenerateResult } from './continuation.js'
import { type GenerateOptions, generateArguments } from './generate-options.js'
import { TextEngine } from './text-engine.js'
import { textRequest, writtenText } from './text-request.js'

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
 * With `prompts`, or `n` texts of a prompt, the result is a list, and its texts are generated at once. Each text is what it would be alone: bit for
 * bit in float32 on the CPU; in bfloat16 and on GPUs, passes of many texts round otherwise, which may change a close choice.
 *
 * @throws UsageError for options that are wrong or do not fit the model, and for prompts that fill its context; the reason of
 * an aborted `signal`
 */
export async function generate(
  model: LoadedModel,
  call: GenerateOptions & Required<Pick<GenerateOptions, 'prompts'> | Pick<GenerateOptions, 'n'>>,
): Promise<GenerateResult[]>
export async function generate(model: LoadedModel, call: GenerateOptions): Promise<GenerateResult>
export async function generate(model: LoadedModel, call: GenerateOptions): Promise<GenerateResult | GenerateResult[]> {
  check({ model, call }, generateArguments)
  if (call.prompts === undefined && call.n === undefined) return drain(generateStream(model, call), call.onText)
  return generateMany(model, call)
}

async function generateMany(
  model: LoadedModel,
  { prompts, n = 1, ...call }: GenerateOptions,
): Promise<GenerateResult[]> {
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
  model: LoadedModel,
  call: GenerateOptions,
): AsyncGenerator<string, GenerateResult> {
  check({ model, call }, generateArguments)
  const view = model.withAdapters(call.adapters)
  const request = await textRequest(view, call)
  const tokens = Math.min(view.config.maxPositions, request.ids.length + request.maxNewTokens)
  await using engine = new Engine(view, { sequences: 1, tokens: Math.max(1, tokens) })
  const pieces = writtenText(view, engine, request)
  for (;;) {
    const next = await pieces.next()
    if (next.done) return next.value
    if (next.value.text !== '') yield next.value.text
  }
}
