import type { RandomStream } from '../common/random.js'
import type { AdapterChoice } from '../models/index.js'
import type { Sampling } from '../tensor/operations/sampling.js'
import type { EditOptions } from './logits-edits.js'

/** Why generation ended: at a stop token or string, or at the limit of tokens. */
export type FinishReason = 'stop' | 'length'

/** A sequence to generate. */
export interface EngineRequest {
  /** The prompt: at least one token. */
  readonly ids: readonly number[]
  /** Maximum number of new tokens. */
  readonly maxNewTokens: number
  /** Options of sampling. */
  readonly sampling: Sampling
  /** Penalties, biases and forbidden tokens. */
  readonly edits?: EditOptions | undefined
  /** The constraint that the text must satisfy. */
  readonly constraint?:
    | {
        /** Returns a bit for each token that may come next, in words of 32 bits from the lowest on. */
        mask(): Promise<Int32Array>
        /** Advances by the sampled token. */
        accept(id: number): void
      }
    | undefined
  /** Number of likeliest tokens to return with the log-probability of each new token; undefined: no log-probabilities. */
  readonly topLogprobs?: number | undefined
  /** Tokens that end the sequence. */
  readonly stopIds: ReadonlySet<number>
  /** Random stream of the sampling: one number per new token, none at temperature 0. */
  readonly random: RandomStream
  /** Adapters to use, by name, optionally with a scale; default: the active ones. */
  readonly adapters?: AdapterChoice | undefined
  /** Called when the sequence begins, with the number of tokens of the prompt that came from the prefix cache. */
  readonly onBegin?: ((cachedTokens: number) => void) | undefined
  /** Names the prompt in errors; default `The prompt`. */
  readonly name?: string
  /** Aborting it ends the sequence with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** A prompt with continuations to score. */
export interface ScoredPrompt extends Pick<EngineRequest, 'ids' | 'name'> {
  /** Each of at least one token. */
  readonly continuations: readonly (readonly number[])[]
}
