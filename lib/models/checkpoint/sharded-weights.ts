/** Loading a base that ranks hold together: each matrix is read by one of them, and every rank keeps 1 / size of its bytes. */
import { RunError } from '../../errors.js'
import { blockBytes, blockValues } from '../../io/stored-dtype.js'
import { bytesOf, type CodeLayout, type DType, elementsOf, type FloatDType, type NativeDevice } from '../../native.js'
import { type CodedTensors, CodedWeight } from '../../tensor/coded-weight.js'
import { GatheredWeight } from '../../tensor/gathered-weight.js'
import { allOrNothing, keep } from '../../tensor/scope.js'
import { type ShardRanks, Shards, type UnitOfShards } from '../../tensor/shards.js'
import { Tensor } from '../../tensor/tensor.js'
import { type CodeFormat, type Weight, weightOf } from '../../tensor/weight.js'
import type { NetworkWeights } from '../network/linear-layers.js'
import type { ModelConfig } from '../network/model-config.js'
import { type GroupOfShards, shardedUnits } from '../network/units.js'
import type { Weights } from './initial-weights.js'

/** Where a tensor lies among the bytes of its group. */
interface StoredPlace {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly offset: number
}

/** A matrix as one rank has read it, for the others: one tensor, or those of a matrix of codes. */
interface MatrixFacts {
  readonly codes: { readonly storage: CodeFormat; readonly layout: CodeLayout } | null
  readonly tensors: Readonly<Record<string, StoredPlace | null>>
}

/** What one rank tells the others of a group, or why it could not be read. */
type GroupFacts = { readonly bytes: number; readonly matrices: readonly MatrixFacts[] } | { readonly failure: string }

/** Bytes of a cache line, and of what processors read at one time. */
const ALIGNMENT = 64
/** Bytes that one rank sends the others at one time. */
const PIECE = 2 ** 24

/** Gives the weights of a network whose matrices are gathered when they are used. Norms and biases are whole on every rank. */
export class ShardedWeights implements NetworkWeights {
  readonly config: ModelConfig
  readonly device: NativeDevice
  readonly dtype: FloatDType

  constructor(
    private readonly whole: Weights,
    readonly shards: Shards,
    /** The matrices of each group by the name of its first, and how they are fetched. */
    private readonly groups: ReadonlyMap<string, { readonly matrices: readonly Weight[]; readonly bring: () => void }>,
  ) {
    this.config = whole.config
    this.device = whole.device
    this.dtype = whole.dtype
  }

  weight(name: string): Weight {
    return this.#group(name)[0]!
  }

  bias(name: string): Tensor {
    return this.whole.bias(name)
  }

  norm(name: string): Tensor {
    return this.whole.norm(name)
  }

  fused(names: readonly string[]): { whole: Weight | null; parts: Weight[] } {
    const matrices = this.#group(names[0]!)
    if (matrices.length === names.length) return { whole: null, parts: [...matrices] }
    const [whole] = matrices as [Weight]
    let from = 0
    const parts = names.map((name) => {
      const to = from + this.whole.shapeOf(name)[0]!
      const part = whole.rows(from, to)
      from = to
      return part
    })
    for (const { tensors } of parts) for (const tensor of tensors) keep(tensor)
    return { whole, parts }
  }

  /** Where no network is made of them. */
  dispose(): void {
    for (const { matrices } of this.groups.values()) for (const matrix of matrices) matrix.dispose()
    this.shards.dispose()
  }

  #group(name: string): Weight[] {
    const { matrices, bring } = this.groups.get(name)!
    return matrices.map((matrix) => new GatheredWeight(matrix, bring))
  }
}

/**
 * Reads a network's matrices, each on one rank, and keeps this rank's part of all of them.
 * @param weights reads them whole; also what stays whole
 * @param betweenGroups is awaited again and again; where it throws, loading ends
 */
export async function shardedWeights(
  weights: Weights,
  ranks: ShardRanks,
  betweenGroups: () => Promise<void>,
): Promise<ShardedWeights> {
  const units = shardedUnits(weights.config)
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
    const groups = units.flatMap((unit, turn) =>
      unit.groups.map((names, i) => {
        const index = parts[turn]!.parts[i]!
        const memory = shards.memoryOf(index)
        const matrices = facts[index]!.map((one) => matrixIn(memory, one))
        return [names[0]!, { matrices, bring: () => shards.bring(turn) }] as const
      }),
    )
    return new ShardedWeights(weights, shards, new Map(groups))
  } catch (error) {
    for (const part of own) part.dispose()
    throw error
  }
}

/** This rank's part of a group that one rank reads, and what the group's bytes are. */
async function partOfGroup(
  weights: Weights,
  names: GroupOfShards,
  ranks: ShardRanks,
  reader: number,
): Promise<{ matrices: readonly MatrixFacts[]; part: Tensor }> {
  const read = ranks.rank === reader ? readGroup(weights, names, ranks.size) : null
  try {
    const facts = JSON.parse(await textOf(read ? JSON.stringify(read.facts) : null, ranks, reader)) as GroupFacts
    if (read && !read.all) throw read.error
    if ('failure' in facts) throw new RunError('rank-failed', `Rank ${reader} failed: ${facts.failure}`)
    const { bytes, matrices } = facts
    using all = read?.all ?? emptyBytes(bytes, weights.device)
    for (let from = 0; from < bytes; from += PIECE) {
      using piece = keep(all.view([Math.min(PIECE, bytes - from)], [1], from))
      const values = new Uint8Array(piece.elements)
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

function readGroup(weights: Weights, names: GroupOfShards, size: number): ReadGroup {
  try {
    const isKept = names.some((name) => weights.isKept(name))
    return allOrNothing(() => (isKept ? keptGroup : floatGroup)(weights, names, size))
  } catch (error) {
    return { facts: { failure: error instanceof Error ? error.message : String(error) }, error }
  }
}

/** Floats: read to where they are to lie, one below the other. */
function floatGroup(weights: Weights, names: GroupOfShards, size: number): ReadGroup {
  const { device, dtype } = weights
  const shapes = names.map((name) => weights.shapeOf(name))
  const shape = [shapes.reduce((sum, [rows]) => sum + rows!, 0), shapes[0]![1]!]
  const bytes = roundedUp(bytesOf(dtype) * elementsOf(shape), ALIGNMENT * size)
  const all = emptyBytes(bytes, device)
  using whole = keep(all.memoryAs(dtype, shape))
  let from = 0
  for (const [i, name] of names.entries()) {
    const to = from + shapes[i]![0]!
    using rows = keep(whole.rows(from, to))
    weights.fill(name, rows)
    from = to
  }
  return { facts: { bytes, matrices: [{ codes: null, tensors: { values: { dtype, shape, offset: 0 } } }] }, all }
}

/** What lies as its file has it, copied to where it is to lie. */
function keptGroup(weights: Weights, names: GroupOfShards, size: number): ReadGroup {
  const { whole, parts } =
    names.length > 1 ? weights.fused(names) : { whole: weights.weight(names[0]!), parts: [] as Weight[] }
  const made = whole ? [whole] : parts
  try {
    let end = 0
    const place = (tensor: Tensor): StoredPlace => {
      const offset = end
      end += roundedUp(bytesOfTensor(tensor), ALIGNMENT)
      return { dtype: tensor.dtype, shape: tensor.shape, offset }
    }
    const matrices = made.map((matrix) => factsOf(matrix, place))
    const bytes = roundedUp(end, ALIGNMENT * size)
    const all = emptyBytes(bytes, weights.device)
    for (const [i, { tensors }] of matrices.entries()) {
      const places = Object.values(tensors).filter((one) => one !== null)
      for (const [k, tensor] of made[i]!.tensors.entries()) copyBytes(tensor, all, places[k]!.offset)
    }
    return { facts: { bytes, matrices }, all }
  } finally {
    for (const weight of new Set([...parts, ...made])) weight.dispose()
  }
}

function factsOf(matrix: Weight, place: (tensor: Tensor) => StoredPlace): MatrixFacts {
  if (!(matrix instanceof CodedWeight)) return { codes: null, tensors: { values: place(matrix.tensors[0]!) } }
  const { storage, layout, parts } = matrix
  const tensors = Object.entries(parts).map(([name, tensor]) => [name, tensor && place(tensor)])
  return { codes: { storage, layout }, tensors: Object.fromEntries(tensors) }
}

function matrixIn(memory: Tensor, { codes, tensors }: MatrixFacts): Weight {
  const views = Object.entries(tensors).map(([name, place]) => [
    name,
    place && keep(memory.memoryAs(place.dtype, place.shape, place.offset)),
  ])
  const parts = Object.fromEntries(views)
  return codes ? new CodedWeight(codes.storage, parts as CodedTensors, codes.layout) : weightOf(parts.values)
}

function roundedUp(count: number, multiple: number): number {
  return Math.ceil(count / multiple) * multiple
}

function bytesOfTensor({ dtype, elements }: Tensor): number {
  return (elements / blockValues(dtype)) * blockBytes(dtype)
}

function emptyBytes(count: number, device: NativeDevice): Tensor {
  return keep(Tensor.empty([count], { device, dtype: 'uint8' }))
}

function copyBytes(from: Tensor, into: Tensor, offset: number): void {
  using bytes = keep(from.memoryAs('uint8', [bytesOfTensor(from)]))
  using target = keep(into.view(bytes.shape, [1], offset))
  target.copyFrom(bytes)
}

function writeBytes(bytes: Uint8Array, into: Tensor): void {
  using values = keep(Tensor.from(bytes, into.shape, into))
  into.copyFrom(values)
}

/** The text of one rank, on all of them. */
async function textOf(own: string | null, ranks: ShardRanks, from: number): Promise<string> {
  const bytes = Buffer.from(own ?? '')
  const length = Buffer.from(await ranks.broadcast(new Uint8Array(Float64Array.of(bytes.length).buffer), from))
  const text = own === null ? new Uint8Array(length.readDoubleLE()) : bytes
  return Buffer.from(await ranks.broadcast(text, from)).toString()
}
