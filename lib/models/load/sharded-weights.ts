/** Loading a base that ranks hold together: each matrix is read by one of them, and every rank keeps 1 / size of its bytes. */
import { RunError } from '../../common/errors.js'
import type { NativeDevice } from '../../native/addon.js'
import { GatheredWeight } from '../../tensor/gathered-weight.js'
import { allOrNothing, keep } from '../../tensor/scope.js'
import { type ShardRanks, Shards, type UnitOfShards } from '../../tensor/shards.js'
import { Tensor } from '../../tensor/tensor.js'
import { type GroupOfMatrices, networkUnits } from '../network/units.js'
import { type GroupInBytes, type MatrixFacts, matrixIn, readGroup } from './grouped-weights.js'
import type { Weights } from './weights.js'

/** What one rank tells the others of a group, or why it could not be read. */
type GroupFacts = { readonly bytes: number; readonly matrices: readonly MatrixFacts[] } | { readonly failure: string }

/** Bytes that one rank sends the others at one time. */
const PIECE = 2 ** 24

/**
 * Reads a network's matrices, each on one rank, and keeps this rank's part of all of them.
 * @param weights reads the matrices, and gets what gathers them
 * @param betweenGroups is awaited again and again; where it throws, loading ends
 */
export async function readSharded(
  weights: Weights,
  ranks: ShardRanks,
  betweenGroups: () => Promise<void>,
): Promise<void> {
  const units = networkUnits(weights.config)
  const own: Tensor[] = []
  const facts: (readonly MatrixFacts[])[] = []
  try {
    const parts: UnitOfShards[] = []
    for (const [turn, { isBlock, groups }] of units.entries()) {
      const first = own.length
      for (const group of groups) {
        await betweenGroups()
        const { matrices, part } = await partOfGroup(weights, group, ranks, turn % ranks.size)
        facts.push(matrices)
        own.push(part)
      }
      parts.push({ isBlock, parts: Array.from(groups, (_, i) => first + i) })
    }
    const shards = new Shards(ranks, own, await ranks.share(own), parts)
    for (const [turn, unit] of units.entries()) {
      for (const [i, names] of unit.groups.entries()) {
        const index = parts[turn]!.parts[i]!
        const memory = shards.memoryOf(index)
        const bring = () => shards.bring(turn)
        weights.put(
          names,
          facts[index]!.map((one) => new GatheredWeight(matrixIn(memory, one), bring)),
        )
      }
    }
    weights.shards = shards
  } catch (error) {
    for (const part of own) part.dispose()
    throw error
  }
}

/** This rank's part of a group that one rank reads, and what the group's bytes are. */
async function partOfGroup(
  weights: Weights,
  names: GroupOfMatrices,
  ranks: ShardRanks,
  reader: number,
): Promise<{ matrices: readonly MatrixFacts[]; part: Tensor }> {
  const read = ranks.rank === reader ? readOrFail(weights, names, ranks.size) : null
  const said = Buffer.from(read ? JSON.stringify(read.facts) : '')
  try {
    const facts = JSON.parse(Buffer.from(await ranks.broadcast(said, reader)).toString()) as GroupFacts
    if (read && !read.all) throw read.error
    if ('failure' in facts) throw new RunError('rank-failed', `Rank ${reader} failed: ${facts.failure}`)
    const { bytes, matrices } = facts
    using all = read?.all ?? emptyBytes(bytes, weights.device)
    for (let from = 0; from < bytes; from += PIECE) {
      using piece = keep(all.view([Math.min(PIECE, bytes - from)], [1], from))
      const values = new Uint8Array(read ? piece.elements : 0)
      if (read) await piece.bytesInto(values)
      const sent = await ranks.broadcast(values, reader)
      if (!read) writeBytes(sent, piece)
    }
    const part = emptyBytes(bytes / ranks.size, weights.device)
    using slice = keep(all.view(part.shape, [1], ranks.rank * part.elements))
    part.copyFrom(slice)
    return { matrices, part }
  } finally {
    read?.all?.dispose()
  }
}

type ReadGroup =
  | { readonly facts: GroupFacts; readonly all: Tensor; readonly error?: undefined }
  | { readonly facts: GroupFacts; readonly all?: undefined; readonly error: unknown }

function readOrFail(weights: Weights, names: GroupOfMatrices, size: number): ReadGroup {
  try {
    const empty = (bytes: number) => emptyBytes(bytes, weights.device)
    const { matrices, all }: GroupInBytes = allOrNothing(() => readGroup(weights, names, size, empty))
    return { facts: { bytes: all.elements, matrices }, all }
  } catch (error) {
    return { facts: { failure: error instanceof Error ? error.message : String(error) }, error }
  }
}

function emptyBytes(count: number, device: NativeDevice): Tensor {
  return keep(Tensor.empty([count], { device, dtype: 'uint8' }))
}

function writeBytes(bytes: Uint8Array, into: Tensor): void {
  using values = keep(Tensor.from(bytes, into.shape, into))
  into.copyFrom(values)
}
