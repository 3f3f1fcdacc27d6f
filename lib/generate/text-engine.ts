import { aFunction, check, optionsSchema, wholeFrom } from '../common/arguments.js'
import { Engine, type EngineOptions, type EngineUsage } from '../engine/index.js'
import type { LoadedModel } from '../models/index.js'
import { drain, type GeneratedPiece, type GenerateResult } from './continuation.js'
import { aModel, type GenerateOptions, generateArguments } from './generate-options.js'
import { PromptScorer } from './prompt-logprobs.js'
import { textRequest, writtenText } from './text-request.js'

const engineArguments = {
  model: aModel,
  options: optionsSchema('the options of TextEngine', {
    sequences: wholeFrom(1).optional(),
    longSequences: wholeFrom(1).optional(),
    tokens: wholeFrom(1).optional(),
  }),
}

const streamArguments = { call: generateArguments.call, sample: wholeFrom(0) }

/**
 * Generates many texts of one model at once. Texts begin and end independently of each other, and each is what `generate` alone
 * would give for its options: bit for bit in float32 on the CPU; in bfloat16 and on GPUs, passes of many texts round otherwise, which may
 * change a close choice.
 *
 * ```ts
 * import { loadModel, TextEngine } from 'node-mora'
 *
 * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
 * await using engine = new TextEngine(model)
 * const answers = ['Count to ten.', 'Name a colour.'].map((prompt) => engine.generate({ prompt, maxNewTokens: 16 }))
 * console.log((await Promise.all(answers)).map(({ text }) => text))
 * ```
 */
export class TextEngine implements AsyncDisposable {
  readonly #engine: Engine
  readonly #scorer = new PromptScorer()

  /** @throws UsageError for options that are wrong; if the memory does not fit */
  constructor(
    /** The model that generates. */
    readonly model: LoadedModel,
    options: EngineOptions = {},
  ) {
    check({ model, options }, engineArguments)
    this.#engine = new Engine(model, options)
  }

  /** Maximum number of concurrent sequences. */
  get sequences(): number {
    return this.#engine.sequences
  }

  /** Load of the engine. */
  get usage(): EngineUsage {
    return this.#engine.usage
  }

  /** Generates one text: the first sample of a prompt, or one with other draws. @throws what `generate` throws */
  async generate(call: GenerateOptions, sample = 0): Promise<GenerateResult> {
    check({ call, sample }, streamArguments)
    return drain(this.stream(call, sample), ({ text }) => call.onText?.(text))
  }

  /**
   * Generates one text, in pieces of whole characters; the generator's return value is the result. Leaving the loop, or aborting
   * `signal`, cancels it within a step.
   */
  async *stream(call: GenerateOptions, sample = 0): AsyncGenerator<GeneratedPiece, GenerateResult> {
    check({ call, sample }, streamArguments)
    const model = this.model.withAdapters(call.adapters)
    const request = await textRequest(model, call, sample)
    return yield* writtenText(model, this.#engine, { ...request, adapters: call.adapters }, this.#scorer)
  }

  /**
   * Runs work that changes the model, such as a training step or loading an adapter, between two steps. Running texts whose weights it
   * changes are computed again from their first token. If weights change in another way, running texts keep their keys and values and
   * use the new weights from the next token on; the prefix cache never serves pages of other weights.
   */
  async exclusive<Result>(work: () => Promise<Result>): Promise<Result> {
    check({ work }, { work: aFunction })
    return this.#engine.exclusive(work)
  }

  /** Ends all texts with an error and frees the memory; the model stays. */
  async close(): Promise<void> {
    await this.#engine.close()
  }

  /** The same as `close`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
