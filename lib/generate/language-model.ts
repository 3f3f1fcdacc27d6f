import { having } from '../common/arguments.js'
import { UsageError } from '../common/errors.js'
import type { Tokenizer } from '../data/tokenizer/tokenizer.js'
import type { AdapterChoice } from '../models/index.js'
import type { TokenChoice } from '../tensor/operations/sampling.js'

/** What a model keeps of the tokens that were read, such as their keys and values. */
export interface TokenCache {
  /** Number of tokens that were read. */
  readonly length: number
  /** Number of tokens for which memory is allocated. */
  readonly capacity: number
  /** The row's final number of tokens, as far as it is known before they are read. */
  rowLength?: number
  /**
   * Forgets the tokens after the first `tokens`; all of them if it cannot forget only those, or if the model's weights or adapters have
   * changed since the first was read. Returns how many are left.
   */
  rewind(tokens: number): number
  /** Frees the memory. */
  dispose(): void
}

/** The part of a model that generation needs. `Model` implements it, and tests can. */
export interface LanguageModel {
  /** Folder or file that the model was loaded from; empty for a randomly initialised model. */
  readonly path: string
  /** The parts of the model's configuration that generation needs. */
  readonly config: {
    /** Ids of tokens that end a text. */
    readonly eosIds: readonly number[]
    /** Largest number of tokens of prompt and answer together. */
    readonly maxPositions: number
    /** V, the number of logits. */
    readonly vocabularySize: number
  }
  /**
   * Rows at least this long use different rotary angles, from their first token on; if absent, no rows do.
   *
   * @internal
   */
  readonly longRowsFrom?: number
  /** Null for a model without a tokenizer, which can only read ids. */
  readonly tokenizer: Tokenizer | null
  /** The model's adapters. */
  readonly adapterSet: {
    /** Returns the names of the active adapters. */
    activeNames(): string[]
    /** Returns facts about the training of an adapter. */
    provenance(name: string): {
      /** sha256 of the chat template that it was trained with. */
      readonly templateHash?: string
    }
  }
  /**
   * Returns the model with these adapters, whatever is active in it, and by default the active ones. If absent, a call
   * cannot choose adapters.
   */
  withAdapters?(adapters?: AdapterChoice): LanguageModel
  /** Allocates a cache for `capacity` tokens. */
  createCache(capacity: number): TokenCache
  /** Reads `ids` after what the cache holds, and returns the logits [V] of the next token. */
  nextLogits(ids: ArrayLike<number>, cache: TokenCache): Promise<Float32Array>
  /** Reads `ids` after what the cache holds, and chooses the next token. */
  nextToken(ids: ArrayLike<number>, cache: TokenCache, choice: TokenChoice): Promise<number>
}

/** Schema of arguments that must be a model. */
export const aLanguageModel = having(
  'a model (loadModel gives one)',
  'createCache',
  'nextToken',
  'config',
  'adapterSet',
)

/**
 * Returns a model with the adapters of one call, by default the active ones, so that nothing else changes them during the call.
 */
export function withAdaptersOf<Model extends { withAdapters?(adapters?: AdapterChoice): Model }>(
  model: Model,
  adapters: AdapterChoice | undefined,
): Model {
  if (model.withAdapters) return model.withAdapters(adapters)
  if (adapters === undefined) return model
  throw new UsageError(
    'unfit-options',
    'The option adapters needs a model with the method withAdapters, as loadModel gives them.',
  )
}
