import type { RandomStream } from '../common/random.js'
import type { AdapterChoice } from '../models/index.js'
import type { Sampling } from '../tensor/operations/sampling.js'
import type { EditOptions } from './sampling/logits-edits.js'

/** What a text must conform to. */
export interface TokenConstraint {
  /** Returns a bit for each token that may come next, in words of 32 bits from the lowest on. */
  mask(): Promise<Int32Array>
  /** Tells the token that was chosen. */
  accept(id: number): void
}

/** One sequence to write. */
export interface EngineRequest {
  /** The prompt: at least one token. */
  readonly ids: readonly number[]
  readonly maxNewTokens: number
  readonly sampling: Sampling
  /** Penalties, biases and forbidden tokens. */
  readonly edits?: EditOptions | undefined
  /** What the text must conform to. */
  readonly constraint?: TokenConstraint | undefined
  /** Number of likeliest tokens to list with the probability of each new one; undefined: no probabilities. */
  readonly topLogprobs?: number | undefined
  /** Tokens that end the sequence. */
  readonly stopIds: ReadonlySet<number>
  /** Its random stream: one number per new token, none at temperature 0. */
  readonly random: RandomStream
  /** Adapters, by name or with another factor; default: those that are active now. */
  readonly adapters?: AdapterChoice | undefined
  /** Names the prompt in errors; default `The prompt`. */
  readonly name?: string
  /** Aborting it ends the sequence with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}
