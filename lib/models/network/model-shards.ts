import { UsageError } from '../../common/errors.js'
import type { ShardRanks } from '../../tensor/shards.js'
import type { Decoder } from './decoder.js'
import { unitFinder } from './units.js'

/** A model whose matrices are sharded over several ranks, which all make the same passes at the same time. */
export interface ModelShards {
  /** This rank's number, and the number of ranks. */
  readonly ranks: Pick<ShardRanks, 'rank' | 'size'>
  /**
   * Begins a pass; a loss does this itself.
   * @param onPast called for each unit of the network once the pass is beyond it, between the same gathers on all ranks
   */
  begin(gradients: boolean, onPast?: (unit: number) => void): void
  /** The unit that a parameter belongs to; null for a parameter outside of all units. */
  unitOf(parameter: string): number | null
  /** Takes part in the other ranks' remaining gathers of a pass: in all of them if this rank has no batch. */
  end(): void
  /** Why the last gather failed; null if it did not. */
  failure(): unknown
}

/** Returns null for a network that is not sharded. */
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

/** Throws if the network is sharded; `needs` is a clause that says what needs the whole of it. */
export function requireWhole({ shards }: Decoder, needs: string): void {
  if (!shards) return
  throw new UsageError(
    'sharded-weights',
    `${needs}, but the ranks share the weights of the model: load it without shard.`,
  )
}
