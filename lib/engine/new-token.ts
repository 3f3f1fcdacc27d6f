import type { RankedToken } from '../tensor/operations/sampling.js'

/** Why generation ended: at a stop token or string, or at the limit of tokens. */
export type FinishReason = 'stop' | 'length'

/** A token that the engine wrote, with its probability if that was asked for. */
export interface NewToken extends Partial<RankedToken> {
  /** Its id. */
  readonly id: number
}
