import { having } from '../arguments.js'
import type { Tokenizer } from '../data/tokenizer/tokenizer.js'
import type { TokenChoice } from '../tensor/operations/sampling.js'

/** Keys and values of the tokens that were read. */
export interface TokenCache {
  /** Tokens in use; lowering it forgets the last ones. */
  length: number
  readonly capacity: number
  /** Tokens that the row will have, as far as that is known before they are read. */
  rowLength?: number
  dispose(): void
}

/** What generation needs of a model. `Model` fits; so do fakes. */
export interface LanguageModel {
  /** Folder or file that the model was loaded from; empty for a model that was made from random numbers. */
  readonly path: string
  readonly config: {
    readonly eosIds: readonly number[]
    readonly maxPositions: number
    readonly vocabularySize: number
  }
  /** Rows of so many tokens are computed otherwise than shorter ones, from their first token on; absent: none are. */
  readonly longRowsFrom?: number
  readonly tokenizer: Tokenizer | null
  readonly adapterSet: {
    activeNames(): string[]
    provenance(name: string): { readonly templateHash?: string }
  }
  createCache(capacity: number): TokenCache
  /** Reads `ids` after what the cache holds, and gives the logits [V] of what comes next. */
  next(ids: ArrayLike<number>, cache: TokenCache): Promise<Float32Array>
  /** Reads `ids` after what the cache holds, and chooses what comes next. */
  nextToken(ids: ArrayLike<number>, cache: TokenCache, choice: TokenChoice): Promise<number>
}

/** What goes where a model is asked for. */
export const aLanguageModel = having(
  'a model (loadModel gives one)',
  'createCache',
  'nextToken',
  'config',
  'adapterSet',
)
