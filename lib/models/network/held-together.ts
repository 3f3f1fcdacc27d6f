import { UsageError } from '../../errors.js'
import type { ShardRanks } from '../../tensor/shards.js'
import type { Decoder } from './decoder.js'

/** How ranks that hold a model's matrices together make a pass: each of them, at the same time. */
export interface HeldTogether {
  readonly ranks: Pick<ShardRanks, 'rank' | 'size'>
  /** Begins a pass, as a loss does by itself. */
  begin(gradients: boolean): void
  /** Gives the others what is left of a pass: all of it where this rank has no batch. */
  end(): void
  /** Why the ranks' parts could not be gathered; null where they could. */
  failure(): unknown
}

/** Null of a network that is whole. */
export function heldTogether(decoder: Decoder): HeldTogether | null {
  const { shards } = decoder
  if (!shards) return null
  return {
    ranks: shards.ranks,
    begin: (gradients) => decoder.beginPass(gradients),
    end: () => shards.end(),
    failure: () => shards.failure,
  }
}

/** Refuses what needs the whole network: a sentence up to its verb says what and why. */
export function requireWhole({ shards }: Decoder, needs: string): void {
  if (!shards) return
  throw new UsageError(
    'sharded-weights',
    `${needs}, but ranks hold those of the model together: load it without shard.`,
  )
}
