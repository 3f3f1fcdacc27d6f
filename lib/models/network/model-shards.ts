import { UsageError } from '../../common/errors.js'
import type { ShardRanks } from '../../tensor/shards.js'
import type { Decoder } from './decoder.js'
import { unitFinder } from './units.js'

/** A model whose matrices lie in parts on several ranks, which all make the same passes at the same time. */
export interface ModelShards {
  /** This rank's number, and how many have parts of the matrices. */
  readonly ranks: Pick<ShardRanks, 'rank' | 'size'>
  /**
   * Begins a pass, as a loss does by itself.
   * @param onPast is told of each unit of the network when the pass is beyond it, between the same gatherings on all ranks
   */
  begin(gradients: boolean, onPast?: (unit: number) => void): void
  /** The unit that a parameter belongs to; null of one that is outside of all of them. */
  unitOf(parameter: string): number | null
  /** Gives the other ranks what is left of a pass: all of it where this rank has no batch. */
  end(): void
  /** Why parts of the ranks could not be gathered; null where they could. */
  failure(): unknown
}

/** Null of a network that is whole. */
export function modelShards(decoder: Decoder): ModelShards | null {
  const { shards } = decoder
  if (!shards) return null
  return {
    ranks: shards.ranks,
    begin: (gradients, onPast) => decoder.beginPass(gradients, undefined, onPast),
    unitOf: unitFinder(decoder.config),
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
