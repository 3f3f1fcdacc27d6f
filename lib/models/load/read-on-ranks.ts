/** Reads a network's matrices together with other ranks. */
import { blockBytes, blockValues } from '../../io/stored-dtype.js'
import { bytesPerValue, type CodeLayout, type DType, elementsOf, type NativeDevice } from '../../native/addon.js'
import { CodedWeight } from '../../tensor/coded-weight.js'
import { GatheredWeight } from '../../tensor/gathered-weight.js'
import { HostMemory, type HostRanks } from '../../tensor/host-memory.js'
import { broadcastJson, failureReason, rankFailure } from '../../tensor/ranks.js'
import { allOrNothing, keep } from '../../tensor/scope.js'
import { type ShardRanks, Shards } from '../../tensor/shards.js'
import { Tensor } from '../../tensor/tensor.js'
import { type CodeFormat, type Weight, weightOf } from '../../tensor/weight.js'
import type { Weights } from './weights.js'

/** Reads all matrices of a network. It awaits `betweenGroups` before each group, and stops if that throws. */
type ReadMatrices = (weights: Weights, betweenGroups: () => Promise<void>) => Promise<void>

/**
 * Returns how ranks read a network's matrices. Ranks of one machine share its memory: one of them reads each matrix. Ranks that
 * shard the network keep 1 / size of every matrix, and gather the matrices of a pass when it needs them.
 * @param shard the ranks that shard it, unless all of them are on one machine
 */
export function readOnRanks(ranks: HostRanks, shard?: ShardRanks): ReadMatrices {
  const isSharded = shard !== undefined && shard.size > 1
  return async (weights, betweenGroups) => {
    const memory = await HostMemory.meet(ranks, weights.device.kind === 'cpu' ? weights.identity() : null)
    if (memory && (!isSharded || memory.readers === shard.size)) return readShared(weights, memory, betweenGroups)
    memory?.close()
    return isSharded ? readSharded(weights, shard, betweenGroups) : weights.readAll(betweenGroups)
  }
}

/** The place of a group in the part of the rank that has read it. */
interface SharedGroup {
  /** The name of its first matrix. */
  readonly name: string
  readonly offset: number
  readonly bytes: number
  readonly matrices: readonly StoredMatrix[]
}

/**
 * Reads this rank's share of a network's matrices into shared memory, and maps the shares of the other ranks.
 * @param weights reads the matrices, and gets all of them
 * @param betweenGroups awaited between groups; loading stops if it throws
 */
async function readShared(weights: Weights, memory: HostMemory, betweenGroups: () => Promise<void>): Promise<void> {
  const own = await shareOf(weights, memory, betweenGroups).catch((error: unknown) => {
    memory.close()
    throw error
  })
  const parts = await memory.exchange(weights.device, own)
  try {
    for (const { memory, description: groups } of parts)
      for (const group of groups) weights.put([group.name], matricesIn(memory, group))
    weights.isShared = true
  } finally {
    for (const part of parts) part.memory.dispose()
  }
}

/** Fills this rank's part of the shared memory. */
async function shareOf(
  weights: Weights,
  memory: HostMemory,
  betweenGroups: () => Promise<void>,
): Promise<SharedGroup[]> {
  const shared: SharedGroup[] = []
  for (const [unit, { groups }] of weights.units.entries()) {
    if (unit % memory.readers !== memory.place) continue
    for (const names of groups) {
      await betweenGroups()
      let offset = 0
      const make = (bytes: number) => {
        const added = memory.add(weights.device, bytes)
        offset = added.offset
        return added.memory
      }
      const { matrices, all } = allOrNothing(() => readGroup(weights, names, 1, make))
      shared.push({ name: names[0]!, offset, bytes: all.elements, matrices })
      all.dispose()
    }
  }
  await weights.device.synchronize()
  return shared
}

function matricesIn(memory: Tensor, { offset, bytes, matrices }: SharedGroup) {
  using group = memory.view([bytes], [1], offset)
  return matrices.map((matrix) => matrixIn(group, matrix))
}

/** A group's description for the other ranks, or why it could not be read. */
type ShardedGroup =
  | { readonly bytes: number; readonly matrices: readonly StoredMatrix[] }
  | { readonly failure: string }

/** Bytes of one message between ranks. */
const PIECE = 2 ** 24

/**
 * Reads a network's matrices, each on one rank, and keeps this rank's part of all of them.
 * @param weights reads the matrices, and receives the gathered ones
 * @param betweenGroups awaited between groups; loading stops if it throws
 */
async function readSharded(weights: Weights, ranks: ShardRanks, betweenGroups: () => Promise<void>): Promise<void> {
  const { units } = weights
  const own: Tensor[] = []
  const layouts: (readonly StoredMatrix[])[] = []
  try {
    const parts: { isBlock: boolean; parts: number[] }[] = []
    for (const [unit, { isBlock, groups }] of units.entries()) {
      const first = own.length
      for (const group of groups) {
        await betweenGroups()
        const { matrices, part } = await partOfGroup(weights, group, ranks, unit % ranks.size)
        layouts.push(matrices)
        own.push(part)
      }
      parts.push({ isBlock, parts: Array.from(groups, (_, i) => first + i) })
    }
    const shards = new Shards(ranks, own, await ranks.share(own), parts)
    for (const [unit, { groups }] of units.entries()) {
      for (const [i, names] of groups.entries()) {
        const index = parts[unit]!.parts[i]!
        const memory = shards.memoryOf(index)
        const bring = () => shards.bring(unit)
        weights.put(
          names,
          layouts[index]!.map((matrix) => new GatheredWeight(matrixIn(memory, matrix), bring)),
        )
      }
    }
    weights.shards = shards
  } catch (error) {
    for (const part of own) part.dispose()
    throw error
  }
}

/** Returns this rank's part of a group that one rank reads, and the layout of the group's bytes. */
async function partOfGroup(
  weights: Weights,
  names: readonly string[],
  ranks: ShardRanks,
  reader: number,
): Promise<{ matrices: readonly StoredMatrix[]; part: Tensor }> {
  const read = ranks.rank === reader ? readOrFail(weights, names, ranks.size) : null
  try {
    const group = await broadcastJson(ranks, read?.group, reader)
    if (read && !read.all) throw read.error
    if ('failure' in group) throw rankFailure(reader, group.failure)
    const { bytes, matrices } = group
    using all = read?.all ?? emptyBytes(bytes, weights.device)
    for (let from = 0; from < bytes; from += PIECE) {
      using piece = keep(all.view([Math.min(PIECE, bytes - from)], [1], from))
      const values = new Uint8Array(read ? piece.elements : 0)
      if (read) await piece.bytesInto(values)
      const sent = await ranks.broadcast(values, reader)
      if (!read) piece.assign(sent)
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
  | { readonly group: ShardedGroup; readonly all: Tensor; readonly error?: undefined }
  | { readonly group: ShardedGroup; readonly all?: undefined; readonly error: unknown }

function readOrFail(weights: Weights, names: readonly string[], size: number): ReadGroup {
  try {
    const empty = (bytes: number) => emptyBytes(bytes, weights.device)
    const { matrices, all } = allOrNothing(() => readGroup(weights, names, size, empty))
    return { group: { bytes: all.elements, matrices }, all }
  } catch (error) {
    return { group: { failure: failureReason(error) }, error }
  }
}

function emptyBytes(count: number, device: NativeDevice): Tensor {
  return keep(Tensor.empty([count], { device, dtype: 'uint8' }))
}

/** The place of a tensor in the bytes of its group. */
interface StoredPlace {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly offset: number
}

/** The layout of a matrix in the bytes of its group: one tensor, or the tensors of a quantised matrix. */
interface StoredMatrix {
  readonly codes: { readonly storage: CodeFormat; readonly layout: CodeLayout } | null
  readonly tensors: Readonly<Record<string, StoredPlace | null>>
}

interface GroupInBytes {
  readonly matrices: readonly StoredMatrix[]
  /** uint8 [n]; the caller owns it. */
  readonly all: Tensor
}

/** Allocates `count` bytes: uint8 [count]. */
type MakeBytes = (count: number) => Tensor

/** Bytes of a cache line, and of the widest vector load. */
const ALIGNMENT = 64

/** Reads a group's matrices into a multiple of `multiple` times 64 bytes. */
function readGroup(weights: Weights, names: readonly string[], multiple: number, make: MakeBytes): GroupInBytes {
  const isKept = names.some((name) => weights.isKept(name))
  return (isKept ? keptGroup : floatGroup)(weights, names, multiple * ALIGNMENT, make)
}

/** Returns the matrix as a view of its group's memory. */
function matrixIn(memory: Tensor, { codes, tensors }: StoredMatrix): Weight {
  const views = Object.entries(tensors).map(([name, place]) => [
    name,
    place && keep(memory.memoryAs(place.dtype, place.shape, place.offset)),
  ])
  const parts = Object.fromEntries(views)
  return codes ? new CodedWeight(codes.storage, parts as CodedWeight['parts'], codes.layout) : weightOf(parts.values)
}

/** Reads floats to their final place, one matrix below the other. */
function floatGroup(weights: Weights, names: readonly string[], unit: number, make: MakeBytes): GroupInBytes {
  const { dtype } = weights
  const shape = weights.stackedShape(names)
  const all = make(roundedUp(bytesPerValue(dtype) * elementsOf(shape), unit))
  using whole = keep(all.memoryAs(dtype, shape))
  weights.fillStacked(names, whole)
  return { matrices: [{ codes: null, tensors: { values: { dtype, shape, offset: 0 } } }], all }
}

/** Reads matrices as their file stores them, and copies them to their final place. */
function keptGroup(weights: Weights, names: readonly string[], unit: number, make: MakeBytes): GroupInBytes {
  const read = weights.read(names)
  try {
    let end = 0
    const place = (tensor: Tensor): StoredPlace => {
      const offset = end
      end += roundedUp(bytesOfTensor(tensor), ALIGNMENT)
      return { dtype: tensor.dtype, shape: tensor.shape, offset }
    }
    const matrices = read.map((matrix) => storedMatrix(matrix, place))
    const all = make(roundedUp(end, unit))
    for (const [i, { tensors }] of matrices.entries()) {
      const places = Object.values(tensors).filter((place) => place !== null)
      for (const [k, tensor] of read[i]!.tensors.entries()) copyBytes(tensor, all, places[k]!.offset)
    }
    return { matrices, all }
  } finally {
    for (const weight of read) weight.dispose()
  }
}

function storedMatrix(matrix: Weight, place: (tensor: Tensor) => StoredPlace): StoredMatrix {
  if (!(matrix instanceof CodedWeight)) return { codes: null, tensors: { values: place(matrix.tensors[0]!) } }
  const { storage, layout, parts } = matrix
  const tensors = Object.entries(parts).map(([name, tensor]) => [name, tensor && place(tensor)])
  return { codes: { storage, layout }, tensors: Object.fromEntries(tensors) }
}

function roundedUp(count: number, multiple: number): number {
  return Math.ceil(count / multiple) * multiple
}

function bytesOfTensor({ dtype, elements }: Tensor): number {
  return (elements / blockValues(dtype)) * blockBytes(dtype)
}

function copyBytes(from: Tensor, into: Tensor, offset: number): void {
  using bytes = keep(from.memoryAs('uint8', [bytesOfTensor(from)]))
  using target = keep(into.view(bytes.shape, [1], offset))
  target.copyFrom(bytes)
}
