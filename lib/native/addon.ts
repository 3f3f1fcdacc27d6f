/**
 * The whole surface of the native addon: what it opens, makes and looks up here, objects in `objects.ts` and
 * operations in `operations.ts`, what these take in `parameters.ts`. `binary.ts` finds the binary.
 */
import type {
  DType,
  NativeDevice,
  NativeFile,
  NativeRanks,
  NativeRecording,
  NativeTensor,
  WrittenBlocks,
} from './objects.js'

export * from './objects.js'

import type { OperationName, Operations } from './operations.js'
import type { SectionPlan } from './parameters.js'

export * from './operations.js'
export * from './parameters.js'

import { loadBinary } from './binary.js'

/** Why a backend cannot be used, in clauses without a full stop. */
export interface Absence {
  problem: string
  /** What helps; null where nothing is known to. */
  remedy: string | null
}

/** Both clauses in one. */
export function absenceText({ problem, remedy }: Absence): string {
  return remedy === null ? problem : `${problem}; ${remedy}`
}

/** Row-major, in double precision; see `Native.svd`. */
export interface SingularValues {
  s: Float64Array
  u: Float64Array | null
  v: Float64Array | null
}

/** A parameter of an operation as native/core/operations.def declares it. */
export interface OperationParameter {
  kind: string
  name: string
}

export interface Native extends Operations {
  readonly version: string
  /** Opens `cpu` or `cuda`; throws with the reason where the backend is absent. `threads` 0: all cores. */
  openDevice(kind: string, index: number, threads: number): NativeDevice
  /** Why a backend cannot be used here, or null when it can. */
  whyUnavailable(kind: string): Absence | null
  /** How many devices of a kind there are; 0 where its backend cannot be used. */
  deviceCount(kind: string): number
  /** Names and versions of the native libraries in use. */
  libraries(): { name: string; version: string }[]
  openFile(path: string): NativeFile

  empty(device: NativeDevice, dtype: DType, shape: readonly number[]): NativeTensor
  /** Copies a typed array's values (Uint16Array holds bits of bfloat16 or float16; Uint8Array also whole blocks). */
  fromArray(device: NativeDevice, dtype: DType, shape: readonly number[], values: ArrayBufferView): NativeTensor
  /** Loads bytes of a file, in stream order: the next wait is rejected where they are not there any more. */
  fromFile(device: NativeDevice, dtype: DType, shape: readonly number[], file: NativeFile, offset: number): NativeTensor
  /**
   * The same into a dense matrix that there is: row i is row `order[i]` of those that lie from `offset` on in the file; null is
   * their own order.
   */
  readRows(target: NativeTensor, file: NativeFile, offset: number, order: Int32Array | null): void

  /**
   * The descriptor of new memory that processes of this machine may share, each as a part of its device `cpu`: others open
   * `/proc/PID/fd/DESCRIPTOR`. It is freed when nobody has it open or mapped, however processes end.
   */
  createSharedMemory(): number
  /** Bytes of it (uint8 [n]) to be written, for all who map them; it grows. `offset` is a multiple of a page. */
  mapToWrite(device: NativeDevice, descriptor: number, offset: number, bytes: number): NativeTensor
  /** Its first bytes (uint8 [n]), as one of `readers`, each of whom is said to use a part. What one writes is its own. */
  mapToRead(device: NativeDevice, descriptor: number, bytes: number, readers: number): NativeTensor

  /** Calls `body`, which must be synchronous, and records the operations that it enqueues. */
  record(body: () => void): NativeRecording

  /**
   * The thin singular value decomposition of row-major values [m, n], in double precision, off the event loop:
   * values = u [m, p] diag(s [p]) v [n, p]ᵀ with p = min(m, n) and s falling. u and v are null unless `vectors`.
   */
  svd(values: Float32Array, rows: number, columns: number, vectors: boolean): Promise<SingularValues>
  /** The Q [m, n] of values [m, n] = Q R, m ≥ n: orthonormal columns, in double precision. Computed before it returns. */
  orthonormalColumns(values: Float32Array, rows: number, columns: number): Float64Array

  /**
   * Fills `values` with numbers of U(-bound, bound): the bits of (2 · uniform() − 1) · bound, of the stream of that key from its
   * word `first` on.
   */
  drawUniform(values: Float32Array, key0: number, key1: number, first: number, bound: number): void

  /**
   * Rows of `columns` values as blocks, rounded as ggml's quantisers do. Computed before it returns, on `threads` threads.
   * @param columns whole blocks
   * @param importance of each column, the mean square of what it is multiplied with; null where that is unknown
   * @throws `non-finite` for a value that the format cannot hold
   */
  quantise(
    dtype: WrittenBlocks,
    values: Float32Array,
    columns: number,
    importance: Float32Array | null,
    threads: number,
  ): Uint8Array
  /**
   * An even number of values in NF4 as bitsandbytes rounds them: codes, two to a byte and the first in the high half, the largest
   * magnitude of each 64 values, and the values of codes.
   */
  quantiseNf4(
    values: Float32Array,
    threads: number,
  ): { codes: Uint8Array<ArrayBuffer>; scales: Float32Array<ArrayBuffer>; table: Float32Array<ArrayBuffer> }

  /** Every operation: its parameters, and whether it takes them as the fields of one object. */
  readonly operations: Readonly<Record<OperationName, { named: boolean; parameters: readonly OperationParameter[] }>>
  /** Whether the device computes an operation whose inputs have these float or block dtypes, in any order. */
  supports(device: NativeDevice, operation: OperationName, dtypes: readonly DType[]): boolean

  /**
   * Starts MPI in this process, by the first of these libraries that is there. Of the `limit`, in milliseconds, half is the
   * silence after which another rank counts as lost (one that computes isn't silent), and half is left to end the job.
   */
  connectMpi(libraries: readonly string[], limit: number): Promise<NativeRanks>
  /** What the first of these libraries that is there calls itself. Throws a sentence where none is. */
  mpiVersion(libraries: readonly string[]): string
  /** The NCCL that connects GPUs, which is opened at the first call. Throws a sentence where none can be used. */
  ncclVersion(): { version: string; path: string }
  /** The version of gloo, which is opened at the first call. Throws a sentence where there is none. */
  glooVersion(): string
  /**
   * Listens on an address of this machine, for gloo: what other ranks have to know to connect with this one, [size, n]. Connecting
   * may take `patience`, in milliseconds. Throws where gloo is absent.
   */
  openGloo(address: string, rank: number, size: number, patience: number): Uint8Array
  /** Connects this process's ranks by gloo: `addresses` [size, n] are what each gave for this one; `limit` as of MPI. */
  connectGloo(addresses: Uint8Array, limit: number): Promise<NativeRanks>
  /** Side W of the folded matrices [n, W, W] for activations of that dtype: R, or that of aligned windows. */
  foldedSide(plan: SectionPlan, dtype: DType, device: NativeDevice): number
}

/** The addon. Loaded at the first use, so that help and errors need no binary. */
export const native: Native = new Proxy({} as Native, {
  get(_, name) {
    return Reflect.get(loadBinary() as object, name)
  },
})
