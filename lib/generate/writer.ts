import { UsageError } from '../common/errors.js'
import { Engine, type EngineRequest, type FinishReason, type NewToken } from '../engine/index.js'
import { Model, ModelView } from '../models/index.js'
import { continueTokens } from './continuation.js'
import type { LanguageModel } from './language-model.js'
import { PromptCache } from './prompt-cache.js'

/** Writes sequences, as `Engine` does. */
export interface SequenceWriter {
  /** Maximum number of sequences generated at once. */
  readonly sequences: number
  write(request: EngineRequest): AsyncGenerator<NewToken, FinishReason>
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Opens a writer of up to `sequences` sequences at once; of one, for a model of another making than `loadModel`'s.
 *
 * @param tokens maximum number of tokens of all sequences, if it is known
 */
export function openWriter(model: LanguageModel, sequences: number, tokens?: number): SequenceWriter {
  if (model instanceof Model || model instanceof ModelView)
    return new Engine(model, { sequences, ...(tokens !== undefined && { tokens }) })
  return new OneAtATime(model)
}

/** Writes one sequence after the other. */
class OneAtATime implements SequenceWriter {
  readonly sequences = 1
  readonly #cache: PromptCache
  #turn: Promise<void> = Promise.resolve()

  constructor(readonly model: LanguageModel) {
    this.#cache = new PromptCache(model)
  }

  async *write(request: EngineRequest): AsyncGenerator<NewToken, FinishReason> {
    if (request.edits || request.constraint || request.topLogprobs !== undefined)
      throw new UsageError(
        'unfit-options',
        'Penalties, constraints and log-probabilities need a model as loadModel gives them.',
      )
    const before = this.#turn
    let end = () => {}
    this.#turn = new Promise((resolve) => {
      end = resolve
    })
    await before
    try {
      return yield* continueTokens(this.#cache, request)
    } catch (error) {
      this.#cache.clear()
      throw error
    } finally {
      end()
    }
  }

  async close(): Promise<void> {
    this.#cache.dispose()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
