/** A group's matrices in one stretch of bytes: how ranks write them there, and use them where they lie. */
import { blockBytes, blockValues } from '../../io/stored-dtype.js'
import { bytesOf, type CodeLayout, type DType, elementsOf } from '../../native/addon.js'
import { type CodedTensors, CodedWeight } from '../../tensor/coded-weight.js'
import { keep } from '../../tensor/scope.js'
import type { Tensor } from '../../tensor/tensor.js'
import { atOnce } from '../../tensor/turns.js'
import { type CodeFormat, type Weight, weightOf } from '../../tensor/weight.js'
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

/** Matrices as their file has them, copied to where they are to lie. */
function keptGroup(weights: Weights, names: GroupOfMatrices, unit: number, make: MakeBytes): GroupInBytes {
  const read = atOnce(weights.read(names))
  try {
    let end = 0
    const place = (tensor: Tensor): StoredPlace => {
      const offset = end
      end += roundedUp(bytesOfTensor(tensor), ALIGNMENT)
      return { dtype: tensor.dtype, shape: tensor.shape, offset }
    }
    const matrices = read.map((matrix) => factsOf(matrix, place))
    const all = make(roundedUp(end, unit))
    for (const [i, { tensors }] of matrices.entries()) {
      const places = Object.values(tensors).filter((one) => one !== null)
      for (const [k, tensor] of read[i]!.tensors.entries()) copyBytes(tensor, all, places[k]!.offset)
    }
    return { matrices, all }
  } finally {
    for (const weight of read) weight.dispose()
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
