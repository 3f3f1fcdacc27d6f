import { having } from '../common/arguments.js'
import type { Tokenizer } from '../data/tokenizer/tokenizer.js'
import type { TokenChoice } from '../tensor/operations/sampling.js'

/** Keys and values of the tokens that were read. */
export interface TokenCache {
  /** Tokens in use; lowering it forgets the last ones. */
  length: number
  /** Tokens that there is memory for. */
  readonly capacity: number
  /** The row's final number of tokens, as far as it is known before they are read. */
  rowLength?: number
  /** Frees the memory. */
  dispose(): void
}

/** What generation needs of a model. `Model` fits; so do fakes. */
export interface LanguageModel {
  /** Folder or file that the model was loaded from; empty for a randomly initialised model. */
  readonly path: string
  /** What generation has to know of the model's sizes. */
  readonly config: {
    /** Ids of tokens that end a text. */
    readonly eosIds: readonly number[]
    /** Tokens that prompt and answer may have together. */
    readonly maxPositions: number
    /** V, the number of logits. */
    readonly vocabularySize: number
  }
  /** Rows at least this long use different rotary angles, from their first token on; absent: no rows do. */
  readonly longRowsFrom?: number
  /** Null for a model without one: it can only be given ids. */
  readonly tokenizer: Tokenizer | null
  /** The model's adapters. */
  readonly adapterSet: {
    /** Names of the adapters that take part in forward passes. */
    activeNames(): string[]
    /** What is known of the training of an adapter. */
    provenance(name: string): {
      /** sha256 of the chat template that it was trained with. */
      readonly templateHash?: string
    }
  }
  /** Memory for keys and values of `capacity` tokens. */
  createCache(capacity: number): TokenCache
  /** Reads `ids` after what the cache holds, and returns the logits [V] of the next token. */
  next(ids: ArrayLike<number>, cache: TokenCache): Promise<Float32Array>
  /** Reads `ids` after what the cache holds, and chooses the next token. */
  nextToken(ids: ArrayLike<number>, cache: TokenCache, choice: TokenChoice): Promise<number>
}

/** The check of arguments that must be a model. */
export const aLanguageModel = having(
  'a model (loadModel gives one)',
  'createCache',
  'nextToken',
  'config',
  'adapterSet',
)
