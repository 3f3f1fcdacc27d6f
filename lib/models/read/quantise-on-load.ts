/** Quantises floats of a checkpoint on loading, a few rows at a time. */
import { about, UsageError } from '../../common/errors.js'
import { theOption } from '../../common/option-names.js'
import { blockBytes, blockValues, isComputable } from '../../io/stored-dtype.js'
import { type NativeDevice, native, type WrittenBlocks } from '../../native/addon.js'
import { CodedWeight } from '../../tensor/coded-weight.js'
import { scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import type { Weight } from '../../tensor/weight.js'
import type { QuantiseFormat } from '../formats.js'
import type { ModelConfig } from '../network/model-config.js'
import { linearsOf } from '../network/plan.js'
import { fittingFormat } from '../quantise/mixtures.js'
import { AddedLora } from './added-lora.js'
import {
  blockFormat,
  type NamedTensor,
  type OpenFile,
  type StoredRows,
  type StoredWeight,
  stackedBlocks,
} from './stored-weight.js'

/** Number of values that share a scale. */
export const NF4_BLOCK = 64

/**
 * Replaces the weights of the blocks' linear layers by ones that are quantised on loading. Norms, embeddings, head and biases
 * stay floats, and so do matrices whose rows do not fill blocks.
 * @throws UsageError `quantised-weights` if such a weight is already quantised, `unfit-options` if all stay floats
 */
export function quantisedOnLoad(
  weights: ReadonlyMap<string, StoredWeight>,
  { network }: ModelConfig,
  format: QuantiseFormat,
): Map<string, StoredWeight> {
  const linears = new Set(linearsOf(network).map(({ name }) => `${name}.weight`))
  const all = [...weights].map(([name, stored]) => {
    return [name, linears.has(name) ? quantisedWeight(stored, format) : stored] as const
  })
  if (all.some(([name, stored]) => stored !== weights.get(name))) return new Map(all)
  throw new UsageError('unfit-options', `No linear layer of the model has rows of whole blocks of ${format}.`)
}

function quantisedWeight(stored: StoredWeight, format: QuantiseFormat): StoredWeight {
  const { name, path, dtype, shape } = stored
  if (stored instanceof AddedLora) {
    throw new UsageError(
      'unfit-options',
      `${path}: an adapter is added to ${name}, and the sum cannot be quantised to ${format}: leave ${theOption('quantise')} out.`,
    )
  }
  if (!isFloats(stored)) {
    throw new UsageError(
      'quantised-weights',
      `${path}: ${name} is quantised already, as ${dtype}, and cannot be quantised to ${format}: leave ${theOption('quantise')} out, or give the model in floats.`,
    )
  }
  if (shape.length !== 2) return stored
  const columns = shape[1]!
  if (format === 'nf4') return columns % 2 === 0 ? new FloatsToNf4(stored) : stored
  const fitting = fittingFormat(format, columns)
  return fitting === null ? stored : new FloatsToBlocks(stored, fitting)
}

function isFloats(stored: StoredWeight): stored is StoredRows {
  return 'pieces' in stored && stored.tensors.every(({ dtype }) => isComputable(dtype) && blockFormat(dtype) === null)
}

/** A weight that the file stores as floats and the model in another format. */
abstract class FloatsToQuantise implements StoredWeight {
  readonly name: string
  readonly path: string
  readonly shape: readonly number[]
  readonly tensors: readonly NamedTensor[]
  abstract readonly dtype: WrittenBlocks | 'nf4'
  abstract readonly bytes: number

  constructor(protected readonly floats: StoredRows) {
    const { name, path, shape, tensors } = floats
    this.name = name
    this.path = path
    this.shape = shape
    this.tensors = tensors
  }

  get keptFormat(): WrittenBlocks | 'nf4' {
    return this.dtype
  }

  check(open: OpenFile): { ordered: boolean } {
    return this.floats.check(open)
  }

  abstract readKept(device: NativeDevice, open: OpenFile): Weight

  readInto(target: Tensor, open: OpenFile): void {
    scope(() => target.copyFrom(this.readKept(target.device, open).values('float32')))
  }
}

class FloatsToBlocks extends FloatsToQuantise {
  readonly bytes: number

  constructor(
    floats: StoredRows,
    readonly dtype: WrittenBlocks,
  ) {
    super(floats)
    const [rows, columns] = floats.shape as [number, number]
    this.bytes = rows * (columns / blockValues(dtype)) * blockBytes(dtype)
  }

  readKept(device: NativeDevice, open: OpenFile): Weight {
    return stackedBlocks([this], device, open)!
  }

  readBlocks(target: Tensor, open: OpenFile): void {
    const { device } = target
    const { threads } = device.facts()
    const [rows, columns] = this.shape as [number, number]
    const blocks = new Uint8Array(this.bytes)
    for (const { from, values } of this.floats.pieces(open)) {
      const piece = quantised(this.name, () => native.quantise(this.dtype, values, columns, null, threads))
      blocks.set(piece, (from / rows) * this.bytes)
    }
    const memory = target.memoryAs('uint8', [this.bytes])
    memory.copyFrom(Tensor.from(blocks, [this.bytes], { device, dtype: 'uint8' }))
  }
}

/** NF4 as bitsandbytes rounds it (arXiv 2305.14314), without double quantisation. */
class FloatsToNf4 extends FloatsToQuantise {
  readonly dtype = 'nf4'
  readonly bytes: number

  constructor(floats: StoredRows) {
    super(floats)
    const [rows, columns] = floats.shape as [number, number]
    this.bytes = (rows * columns) / 2 + 4 * Math.ceil((rows * columns) / NF4_BLOCK)
  }

  readKept(device: NativeDevice, open: OpenFile): CodedWeight {
    const { threads } = device.facts()
    const [rows, columns] = this.shape as [number, number]
    const codes = new Uint8Array((rows * columns) / 2)
    const scales = new Float32Array(Math.ceil((rows * columns) / NF4_BLOCK))
    let table = new Float32Array(16)
    for (const { from, values } of this.floats.pieces(open)) {
      const piece = quantised(this.name, () => native.quantiseNf4(values, threads))
      codes.set(piece.codes, (from * columns) / 2)
      // Pieces are whole blocks, whatever the length of a row.
      scales.set(piece.scales, (from * columns) / NF4_BLOCK)
      table = piece.table
    }
    return nf4Weight(columns, {
      codes: Tensor.from(codes, [rows, columns / 2], { device, dtype: 'uint8' }),
      table: Tensor.from(table, [table.length], { device }),
      scales: Tensor.from(scales, [scales.length], { device }),
    })
  }
}

/** Returns a weight of 4-bit codes [rows, columns / 2], with a table [16] and a float32 scale for every NF4_BLOCK values. */
export function nf4Weight(columns: number, tensors: { codes: Tensor; table: Tensor; scales: Tensor }): CodedWeight {
  return CodedWeight.of('nf4', tensors, { columns, bits: 4, groupSize: NF4_BLOCK, highFirst: true, runsOn: true })
}

/** Quantises a weight; an error about a value that is too large or not finite names the weight. */
export function quantised<Result>(name: string, quantise: () => Result): Result {
  try {
    return quantise()
  } catch (error) {
    throw about(name, error)
  }
}
