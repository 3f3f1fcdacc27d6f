/**
 * The interface of a quantised format, and helpers of its readers: finding the tensors of a weight, checking and reading them.
 */
import { InputError, UsageError } from '../../../common/errors.js'
import type { JsonObject } from '../../../io/json.js'
import { malformed } from '../../../io/open.js'
import type { StoredDType, TensorLocation } from '../../../io/stored-dtype.js'
import type { FloatDType } from '../../../native/addon.js'
import { float16BitsToFloat32 } from '../../../tensor/half.js'
import { transposed } from '../../../tensor/transpose.js'
import type { CodeFormat } from '../../../tensor/weight.js'
import type { ConfigReader } from '../../families/config-reader.js'
import { readBytes, type StoredCodes, type StoredFloats } from '../stored-codes.js'
import type { NamedTensor, OpenFile } from '../stored-weight.js'

/** A format of quantised weights in safetensors, as one quantiser writes it. */
export interface QuantisationFormat {
  /** `quant_method` of the configuration. */
  readonly method: string
  /** Formats of codes, and the cost of computing with each. */
  readonly costs: Readonly<Record<CodeFormat, ComputingCost>>
  /**
   * Finds the weights that are stored in this format, and takes their tensors.
   * @param settings `quantization_config`, strings in lower case
   * @throws UsageError `unsupported-option`, `unsupported-dtype` for what is not supported, InputError `malformed-file`
   */
  weights(settings: ConfigReader, tensors: CheckpointTensors): StoredCodes[]
}

/** The cost of computing on a CPU with weights that stay quantised; `load/storage-plan.ts` says how it was measured. */
export interface ComputingCost {
  /**
   * The number of tokens whose products in bfloat16 take as long as unpacking the weights for a forward and a backward pass.
   */
  readonly training: number
  /** The time of one token's products relative to bfloat16. */
  readonly decoding: number
}

/** Converts the strings of settings to lower case: quantisers accept any case. */
export function inLowerCase(settings: JsonObject): JsonObject {
  const entries = Object.entries(settings)
  return Object.fromEntries(
    entries.map(([key, value]) => [key, typeof value === 'string' ? value.toLowerCase() : value]),
  )
}

type Wanted = { dtypes: readonly StoredDType[]; shape?: readonly number[] }

/** The tensors of a checkpoint; a reader takes the tensors of its weights, and the others are ordinary weights. */
export class CheckpointTensors {
  readonly #remaining: Map<string, TensorLocation>

  constructor(
    tensors: ReadonlyMap<string, TensorLocation>,
    readonly open: OpenFile,
  ) {
    this.#remaining = new Map(tensors)
  }

  /** The tensors that no weight has taken. */
  get remaining(): ReadonlyMap<string, TensorLocation> {
    return this.#remaining
  }

  has(name: string): boolean {
    return this.#remaining.has(name)
  }

  /** Returns the names of tensors with a suffix, without it. */
  modules(suffix: string): string[] {
    return [...this.#remaining.keys()]
      .filter((name) => name.endsWith(suffix))
      .map((name) => name.slice(0, -suffix.length))
  }

  /** Takes a tensor of a weight whose main tensor is `of`. @throws InputError `malformed-file` if it is absent or differs */
  take(name: string, of: NamedTensor | null, wanted: Wanted): NamedTensor {
    const found = this.#remaining.get(name)
    if (!found) throw malformed(of?.path ?? '', `it has ${of?.name}, but no ${name}, which it needs`)
    this.#remaining.delete(name)
    const { path, dtype, shape } = found
    if (!wanted.dtypes.includes(dtype)) {
      throw new UsageError(
        'unsupported-dtype',
        `${path}: ${name} is stored as ${dtype}; expected ${wanted.dtypes.join(' or ')}.`,
      )
    }
    const taken = { ...found, name }
    if (wanted.shape && wanted.shape.join() !== shape.join()) throw misshapen(taken, wanted.shape, of)
    return taken
  }

  takeIfThere(name: string, of: NamedTensor, wanted: Wanted): NamedTensor | null {
    return this.has(name) ? this.take(name, of, wanted) : null
  }

  /** Takes the tensor of a module's input groups [columns], if there is one; `readGroups` reads it. */
  takeGroups(module: string, of: NamedTensor, columns: number): NamedTensor | null {
    return this.takeIfThere(`${module}.weight_g_idx`, of, { dtypes: ['int32'], shape: [columns] })
  }
}

/** Makes the error for a tensor whose shape does not fit the main one. */
export function misshapen({ path, name, shape }: NamedTensor, wanted: readonly number[], of: NamedTensor | null) {
  return malformed(path, `${name} is [${shape.join(', ')}], but [${wanted.join(', ')}] fits ${of?.name ?? 'its kind'}`)
}

/** Returns the number of groups of `columns` columns. @throws InputError `malformed-file` if they are not all of one size */
export function countGroups(columns: number, groupSize: number, of: NamedTensor): number {
  if (columns % groupSize === 0) return columns / groupSize
  throw malformed(of.path, `groups of ${groupSize} do not divide the ${columns} inputs of ${of.name}`)
}

/** Returns the two dimensions of a matrix. */
export function matrixShape({ path, name, shape }: NamedTensor): [number, number] {
  if (shape.length === 2 && shape.every((size) => size > 0)) return shape as unknown as [number, number]
  throw malformed(path, `${name} is [${shape.join(', ')}], but a matrix was expected`)
}

/** Throws if rows of 4-bit codes do not fill whole bytes. */
export function requireEven(columns: number, of: NamedTensor): void {
  if (columns % 2 === 1)
    throw malformed(of.path, `${of.name} has rows of ${columns} codes, which do not fill whole bytes`)
}

export function readWords(tensor: NamedTensor, open: OpenFile): Uint32Array {
  return wordsOf(readBytes(tensor, open))
}

/** Returns bytes as 32-bit words. */
export function wordsOf({ buffer, length }: Uint8Array): Uint32Array {
  return new Uint32Array(buffer, 0, length / 4)
}

function readIndices(tensor: NamedTensor, open: OpenFile): Int32Array {
  return new Int32Array(readBytes(tensor, open).buffer, 0, tensor.bytes / 4)
}

/** Reads floats. @throws InputError `malformed-file` */
export function readFinite(tensor: NamedTensor, open: OpenFile): StoredFloats {
  const bytes = readBytes(tensor, open)
  const dtype = tensor.dtype as FloatDType
  const data =
    dtype === 'float32'
      ? new Float32Array(bytes.buffer, 0, bytes.length / 4)
      : new Uint16Array(bytes.buffer, 0, bytes.length / 2)
  const exponent = dtype === 'float16' ? 0x7c00 : 0x7f80
  const bad =
    data instanceof Float32Array
      ? data.findIndex((value) => !Number.isFinite(value))
      : data.findIndex((bits) => (bits & exponent) === exponent)
  if (bad >= 0) throw new InputError('malformed-file', `${tensor.path}: value ${bad} of ${tensor.name} is not finite.`)
  return { dtype, data }
}

/** Reads the group of each column; null if that is always column / groupSize. @throws InputError `malformed-file` */
export function readGroups(tensor: NamedTensor, groups: number, groupSize: number, open: OpenFile): Int32Array | null {
  const indices = readIndices(tensor, open)
  const bad = indices.findIndex((group) => group < 0 || group >= groups)
  if (bad >= 0) {
    throw malformed(tensor.path, `${tensor.name} puts input ${bad} into group ${indices[bad]}, of ${groups} groups`)
  }
  return indices.every((group, column) => group === Math.floor(column / groupSize)) ? null : indices
}

export function transposedFloats({ dtype, data }: StoredFloats, rows: number, columns: number): StoredFloats {
  return { dtype, data: transposed(data, rows, columns) }
}

/** Unpacks codes of `bits` bits from words, lowest bits first, into bytes. */
export function codesOfWords(words: Uint32Array, bits: 4 | 8): Uint8Array {
  const each = 32 / bits
  const codes = new Uint8Array(words.length * each)
  for (let i = 0; i < codes.length; i++)
    codes[i] = (words[Math.floor(i / each)]! >>> (bits * (i % each))) & (2 ** bits - 1)
  return codes
}

/** Values of 8-bit floats of 4 bits of exponent (bias 7) and 3 of fraction without infinities; codes 0x7f and 0xff are NaN. */
export const e4m3Values: Float32Array = Float32Array.from({ length: 256 }, (_, code) => {
  if ((code & 0x7f) === 0x7f) return Number.NaN
  // The fields are float16's, whose bias is 15.
  return float16BitsToFloat32(((code & 0x80) << 8) | ((code & 0x7f) << 7)) * 2 ** 8
})
