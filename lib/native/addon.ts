/**
 * The whole interface of the native addon: its functions here, objects in `objects.ts`, operations in `operations.ts`.
 * `binary.ts` finds and loads the binary.
 */
import { loadBinary } from './binary.js'
import type {
  DType,
  NativeDevice,
  NativeFile,
  NativeRanks,
  NativeRecording,
  NativeTensor,
  WrittenBlocks,
} from './objects.js'
import type { Operations, SectionPlan } from './operations.js'

export * from './objects.js'
export * from './operations.js'

/** Why a backend cannot be used, in clauses without a full stop. */
interface Absence {
  problem: string
  /** Advice for the user; null if there is none. */
  remedy: string | null
}

/** Joins both clauses. */
export function absenceText({ problem, remedy }: Absence): string {
  return remedy === null ? problem : `${problem}; ${remedy}`
}

/** A singular value decomposition, row-major, in double precision; see `Native.svd`. */
interface SingularValues {
  s: Float64Array
  u: Float64Array | null
  v: Float64Array | null
}

export interface Native extends Operations {
  readonly version: string
  /** Opens `cpu` or `cuda`; throws with the reason if the backend is absent. `threads` 0: all cores. */
  openDevice(kind: string, index: number, threads: number): NativeDevice
  /** Returns why a backend cannot be used here, or null if it can. */
  whyUnavailable(kind: string): Absence | null
  /** Returns the number of devices of a kind; 0 if its backend cannot be used. */
  deviceCount(kind: string): number
  /** Returns names and versions of the native libraries in use. */
  libraries(): { name: string; version: string }[]
  openFile(path: string): NativeFile

  empty(device: NativeDevice, dtype: DType, shape: readonly number[]): NativeTensor
  /** Copies a typed array's values (a Uint16Array has bits of bfloat16 or float16, a Uint8Array bytes or whole blocks). */
  fromArray(device: NativeDevice, dtype: DType, shape: readonly number[], values: ArrayBufferView): NativeTensor
  /** Loads bytes of a file, in stream order; the next wait rejects if the file no longer has them. */
  fromFile(device: NativeDevice, dtype: DType, shape: readonly number[], file: NativeFile, offset: number): NativeTensor
  /**
   * Loads rows of a file, stored from `offset` on, into an existing dense matrix: row i is the file's row `order[i]`; null keeps
   * the file's order.
   */
  readRows(target: NativeTensor, file: NativeFile, offset: number, order: Int32Array | null): void

  /**
   * Creates memory that processes of this machine may share, for use on their CPU devices, and returns its descriptor: others
   * open it by its path (`pathOfSharedMemory`). It is freed once no process has it open or mapped, however processes end.
   */
  createSharedMemory(): number
  /** Maps bytes (uint8 [n]) of shared memory, which grows, for writing. `offset` is a multiple of a page. */
  mapToWrite(device: NativeDevice, descriptor: number, offset: number, bytes: number): NativeTensor
  /** Maps its first bytes (uint8 [n]), with 1 / `readers` of them counted as this process's memory. Writes are private. */
  mapToRead(device: NativeDevice, descriptor: number, bytes: number, readers: number): NativeTensor

  /** Calls `body`, which must be synchronous, and records the operations that it enqueues. */
  record(body: () => void): NativeRecording

  /**
   * Computes the thin singular value decomposition of row-major values [m, n], in double precision, off the event loop:
   * values = u [m, p] diag(s [p]) v [n, p]ᵀ with p = min(m, n) and s descending. u and v are null unless `vectors`.
   */
  svd(values: Float32Array, rows: number, columns: number, vectors: boolean): Promise<SingularValues>
  /** Returns Q [m, n] of values [m, n] = Q R, m ≥ n: orthonormal columns, in double precision. Blocks the event loop. */
  orthonormalColumns(values: Float32Array, rows: number, columns: number): Float64Array

  /**
   * Fills `values` with samples of U(-bound, bound): (2 · uniform() − 1) · bound, bit for bit, of the random stream of that key
   * from its word `first` on.
   */
  drawUniform(values: Float32Array, key0: number, key1: number, first: number, bound: number): void

  /**
   * Quantises rows of `columns` values to blocks, rounded like ggml's quantisers, on `threads` threads. Blocks the event loop.
   * @param columns a multiple of the block's size
   * @param importance mean square of each column's activations; null if unknown
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
   * Quantises an even number of values to NF4, rounded like bitsandbytes: returns codes, two per byte with the first in the high
   * half, the largest magnitude of each 64 values, and the values of the codes.
   */
  quantiseNf4(
    values: Float32Array,
    threads: number,
  ): { codes: Uint8Array<ArrayBuffer>; scales: Float32Array<ArrayBuffer>; table: Float32Array<ArrayBuffer> }

  /** Every operation's parameters, and whether it takes them as the fields of one object. */
  readonly operations: Readonly<
    Record<keyof Operations, { named: boolean; parameters: readonly { kind: string; name: string }[] }>
  >
  /** Whether the device supports an operation for inputs with these float or block dtypes, in any order. */
  supports(device: NativeDevice, operation: keyof Operations, dtypes: readonly DType[]): boolean

  /**
   * Starts MPI in this process, with the first of these libraries that exists. Half of the `limit`, in milliseconds, is the
   * silence after which another rank counts as lost (a computing rank is not silent); the other half is left to end the job.
   */
  connectMpi(libraries: readonly string[], limit: number): Promise<NativeRanks>
  /** Returns the name and version that the first existing library of these reports. Throws if none exists. */
  mpiVersion(libraries: readonly string[]): string
  /** Returns the NCCL in use, opened at the first call. Throws if none can be used. */
  ncclVersion(): { version: string; path: string }
  /** Returns the version of gloo, opened at the first call. Throws if it is absent. */
  glooVersion(): string
  /**
   * Listens on an address of this machine, for gloo. Returns the addresses with which the other ranks connect to this one,
   * [size, n]. Connecting may take `patience`, in milliseconds. Throws if gloo is absent.
   */
  openGloo(address: string, rank: number, size: number, patience: number): Uint8Array
  /** Connects to the other ranks by gloo: `addresses` [size, n] has each rank's address for this one; `limit` as in MPI. */
  connectGloo(addresses: Uint8Array, limit: number): Promise<NativeRanks>
  /** Returns the side W of the folded matrices [n, W, W] for activations of that dtype: R, or that of aligned windows. */
  foldedSide(plan: SectionPlan, dtype: DType, device: NativeDevice): number
}

/** The addon, loaded at the first use, so that help and errors need no binary. */
export const native: Native = new Proxy({} as Native, {
  get(_, name) {
    return Reflect.get(loadBinary() as object, name)
  },
})
