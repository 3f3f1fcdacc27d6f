import type { Tokenizer } from '../data/tokenizer/tokenizer.js'

/** The part of a model that makes prompts. */
export interface LanguageModel {
  /** Folder or file that the model was loaded from; empty for a randomly initialised model. */
  readonly path: string
  /** The parts of the model's configuration that prompts need. */
  readonly config: {
    /** Ids of tokens that end a text. */
    readonly eosIds: readonly number[]
    /** Largest number of tokens of prompt and answer together. */
    readonly maxPositions: number
    /** V, the number of logits. */
    readonly vocabularySize: number
  }
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
}
