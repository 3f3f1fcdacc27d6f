import type { TensorLocation } from '../../io/stored-dtype.js'
import { type BlockDType, type DType, isBlockDType, type NativeDevice, type NativeFile } from '../../native/addon.js'
import { scope } from '../../tensor/scope.js'
import { Tensor } from '../../tensor/tensor.js'
import { type StorageFormat, type Weight, weightOf } from '../../tensor/weight.js'

/** Opens a file, or returns it if it is open. */
export type OpenFile = (path: string) => NativeFile

export interface NamedTensor extends TensorLocation {
  readonly name: string
}

/**
 * A weight as a checkpoint stores it: one tensor of a file (`FileTensor`) or several (`JoinedRows`), codes with scales
 * (`StoredCodes`), or floats that are quantised on loading (`FloatsToBlocks`, `FloatsToNf4`).
 */
export interface StoredWeight {
  /** Hugging Face's name of the weight. */
  readonly name: string
  /** The file of its values or codes. */
  readonly path: string
  /** The model's shape, [out, in] for linear layers, in any order of the file. */
  readonly shape: readonly number[]
  /** Storage of its values: a dtype, a block format, or a format of codes. */
  readonly dtype: string
  /** Bytes of all its tensors, or of the blocks or codes made from them. */
  readonly bytes: number
  readonly tensors: readonly NamedTensor[]
  /** The format in which products read it without unpacking it first; null if it becomes floats. */
  readonly keptFormat: StorageFormat | null
  /**
   * Reads and checks its scales, zeros and groups. Returns whether inputs are in groups by another order than their own, as where
   * GPTQ orders them by activations.
   * @throws InputError `malformed-file`
   */
  check(open: OpenFile): { readonly ordered: boolean }
  /** Writes its values into a tensor of its shape, converting to the tensor's dtype. */
  readInto(target: Tensor, open: OpenFile): void
  /** Reads it in its `keptFormat`, as a new weight. */
  readKept(device: NativeDevice, open: OpenFile): Weight
  /** Writes its blocks into a matrix of its shape and format. Absent for weights other than blocks. */
  readBlocks?(target: Tensor, open: OpenFile): void
}

/** A weight that files store as floats or blocks. */
export interface StoredRows extends StoredWeight {
  /**
   * Yields a matrix of floats in float32, some rows at a time, from row `from` on: all pieces but the last have a multiple of 64
   * values.
   */
  pieces(open: OpenFile): Generator<{ readonly from: number; readonly values: Float32Array }>
}

/** The form of most quantised weights of a checkpoint. */
export interface QuantisedForm {
  /** `q4_1`, `nf4`, … */
  readonly format: string
  /** Whether inputs are in groups by another order than their own. */
  readonly ordered: boolean
}

/**
 * Reads matrices of one block format and width into one stacked weight.
 * @returns null if they are not blocks: codes have their own scales
 */
export function stackedBlocks(matrices: readonly StoredWeight[], device: NativeDevice, open: OpenFile): Weight | null {
  if (!matrices.every((matrix) => matrix.readBlocks)) return null
  const [{ shape, dtype }] = matrices as [StoredWeight]
  const rows = matrices.reduce((sum, matrix) => sum + matrix.shape[0]!, 0)
  const stacked = scope(() => {
    const whole = Tensor.empty([rows, shape[1]!], { device, dtype: dtype as BlockDType })
    let from = 0
    for (const matrix of matrices) {
      const to = from + matrix.shape[0]!
      matrix.readBlocks!(whole.rows(from, to), open)
      from = to
    }
    return whole
  })
  return weightOf(stacked)
}

/** Returns the dtype that most bytes are stored in, among quantised weights if there are any. */
export function usualDType(weights: readonly StoredWeight[]): string {
  const quantised = weights.filter(({ keptFormat }) => keptFormat !== null)
  const counts = new Map<string, number>()
  for (const { dtype, bytes } of quantised.length > 0 ? quantised : weights)
    counts.set(dtype, (counts.get(dtype) ?? 0) + bytes)
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'float32'
}

/** Returns a dtype as a block format that matrices can be kept in; null for other dtypes. */
export function blockFormat(dtype: string): BlockDType | null {
  return isBlockDType(dtype as DType) ? (dtype as BlockDType) : null
}
