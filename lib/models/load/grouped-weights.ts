/** Matrices of a network by groups, each in a stretch of bytes: how they are written there, and made of it. */
import { blockBytes, blockValues } from '../../io/stored-dtype.js'
import {
  bytesOf,
  type CodeLayout,
  type DType,
  elementsOf,
  type FloatDType,
  type NativeDevice,
} from '../../native/addon.js'
import { type CodedTensors, CodedWeight } from '../../tensor/coded-weight.js'
import { keep } from '../../tensor/scope.js'
import type { Shards } from '../../tensor/shards.js'
import type { Tensor } from '../../tensor/tensor.js'
import { type CodeFormat, type Weight, weightOf } from '../../tensor/weight.js'
import type { NetworkWeights } from '../network/linear-layers.js'
import type { ModelConfig } from '../network/model-config.js'
import type { GroupOfMatrices } from '../network/units.js'
import type { Weights } from './weights.js'

/** Where a tensor lies among the bytes of its group. */
interface StoredPlace {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly offset: number
}

/** A matrix as one rank has read it, for the others: one tensor, or those of a matrix of codes. */
export interface MatrixFacts {
  readonly codes: { readonly storage: CodeFormat; readonly layout: CodeLayout } | null
  readonly tensors: Readonly<Record<string, StoredPlace | null>>
}

export interface GroupInBytes {
  readonly matrices: readonly MatrixFacts[]
  /** uint8 [n]; the caller owns it. */
  readonly all: Tensor
}

/** Makes memory of `count` bytes: uint8 [count]. */
type MakeBytes = (count: number) => Tensor

/** Bytes of a cache line, and of what processors read at one time. */
const ALIGNMENT = 64

/** Gives the weights of a network whose matrices were made beforehand. Norms and biases are read when they are asked for. */
export class GroupedWeights implements NetworkWeights {
  readonly config: ModelConfig
  readonly device: NativeDevice
  readonly dtype: FloatDType
  readonly shards: Shards | undefined
  readonly isShared: boolean

  constructor(
    private readonly whole: Weights,
    /** The matrices of each group by the name of its first. */
    private readonly groups: ReadonlyMap<string, readonly Weight[]>,
    { shards, isShared = false }: Pick<NetworkWeights, 'shards' | 'isShared'>,
  ) {
    this.config = whole.config
    this.device = whole.device
    this.dtype = whole.dtype
    this.shards = shards
    this.isShared = isShared
  }

  weight(name: string): Weight {
    return this.groups.get(name)![0]!
  }

  bias(name: string): Tensor {
    return this.whole.bias(name)
  }

  norm(name: string): Tensor {
    return this.whole.norm(name)
  }

  fused(names: readonly string[]): { whole: Weight | null; parts: Weight[] } {
    const matrices = this.groups.get(names[0]!)!
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
    for (const matrices of this.groups.values()) for (const matrix of matrices) matrix.dispose()
    this.shards?.dispose()
  }
}

/** Reads a group's matrices into a multiple of `multiple` times 64 bytes. */
export function readGroup(weights: Weights, names: GroupOfMatrices, multiple: number, make: MakeBytes): GroupInBytes {
  const isKept = names.some((name) => weights.isKept(name))
  return (isKept ? keptGroup : floatGroup)(weights, names, multiple * ALIGNMENT, make)
}

/** The matrix that lies in the memory of its group. */
export function matrixIn(memory: Tensor, { codes, tensors }: MatrixFacts): Weight {
  const views = Object.entries(tensors).map(([name, place]) => [
    name,
    place && keep(memory.memoryAs(place.dtype, place.shape, place.offset)),
  ])
  const parts = Object.fromEntries(views)
  return codes ? new CodedWeight(codes.storage, parts as CodedTensors, codes.layout) : weightOf(parts.values)
}

/** Floats: read to where they are to lie, one below the other. */
function floatGroup(weights: Weights, names: GroupOfMatrices, unit: number, make: MakeBytes): GroupInBytes {
  const { dtype } = weights
  const shapes = names.map((name) => weights.shapeOf(name))
  const shape = [shapes.reduce((sum, [rows]) => sum + rows!, 0), shapes[0]![1]!]
  const all = make(roundedUp(bytesOf(dtype) * elementsOf(shape), unit))
  using whole = keep(all.memoryAs(dtype, shape))
  let from = 0
  for (const [i, name] of names.entries()) {
    const to = from + shapes[i]![0]!
    using rows = keep(whole.rows(from, to))
    weights.fill(name, rows)
    from = to
  }
  return { matrices: [{ codes: null, tensors: { values: { dtype, shape, offset: 0 } } }], all }
}

/** What lies as its file has it, copied to where it is to lie. */
function keptGroup(weights: Weights, names: GroupOfMatrices, unit: number, make: MakeBytes): GroupInBytes {
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
    const all = make(roundedUp(end, unit))
    for (const [i, { tensors }] of matrices.entries()) {
      const places = Object.values(tensors).filter((one) => one !== null)
      for (const [k, tensor] of made[i]!.tensors.entries()) copyBytes(tensor, all, places[k]!.offset)
    }
    return { matrices, all }
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
