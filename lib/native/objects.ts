/** Types and objects of the addon: dtypes, devices, tensors, files, ranks. `addon.ts` has the functions. */

/** `values` elements are stored together in `bytes` bytes. */
export interface Layout {
  values: number
  bytes: number
}

export const plain = (bytes: number): Layout => ({ values: 1, bytes })
export const block = (values: number, bytes: number): Layout => ({ values, bytes })

export const plainLayouts = {
  float32: plain(4),
  bfloat16: plain(2),
  float16: plain(2),
  int32: plain(4),
  int64: plain(8),
  uint8: plain(1),
}

export const blockLayouts = {
  q4_0: block(32, 18),
  q4_1: block(32, 20),
  q5_0: block(32, 22),
  q5_1: block(32, 24),
  q8_0: block(32, 34),
  q2_k: block(256, 84),
  q3_k: block(256, 110),
  q4_k: block(256, 144),
  q5_k: block(256, 176),
  q6_k: block(256, 210),
  iq4_nl: block(32, 18),
  iq4_xs: block(256, 136),
  mxfp4: block(32, 17),
  tq1_0: block(256, 54),
  tq2_0: block(256, 66),
}

/** Dtypes of floating-point numbers. */
export type FloatDType = 'float32' | 'bfloat16' | 'float16'
/** Dtypes whose elements are stored one by one. */
export type PlainDType = keyof typeof plainLayouts
/** Block formats of GGUF: storage of frozen weights only. */
export type BlockDType = keyof typeof blockLayouts
/** Every dtype of a tensor. */
export type DType = PlainDType | BlockDType

/** Block formats that values can be quantised to. */
export type WrittenBlocks = Exclude<BlockDType, 'q2_k' | 'q3_k' | 'tq1_0' | 'tq2_0'>

export function isBlockDType(dtype: DType): dtype is BlockDType {
  return dtype in blockLayouts
}

export function isFloatDType(dtype: string): dtype is FloatDType {
  return dtype === 'float32' || dtype === 'bfloat16' || dtype === 'float16'
}

/** Returns the bytes of one value. */
export function bytesPerValue(dtype: FloatDType): number {
  return dtype === 'float32' ? 4 : 2
}

/** Returns the number of elements of a shape. */
export function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1)
}

/** Limit of CPU threads: far more than any machine has processors. */
export const MAX_THREADS = 1024

/** Memory of a device, in bytes. */
export interface MemoryFigures {
  /** Bytes of live tensors, with this process's part of shared ones, and of working memory. */
  inUse: number
  /** Highest `inUse` since `resetPeak`. */
  peak: number
  /** Bytes reserved from the system and not in use. */
  cached: number
  /** Bytes past which allocations fail; 0 means no limit. */
  limit: number
  /**
   * The part of `inUse` that operations keep between calls (scratch memory, cuBLAS's workspace). 0 on the CPU, where such memory
   * is the process's and not counted.
   */
  working: number
}

/** The properties of a device. */
export interface DeviceFacts {
  /** Name that its driver or the system reports. */
  name: string
  /** Unique identifier: the UUID of a GPU; empty for a CPU. */
  id: string
  /** Memory in bytes. */
  totalMemory: number
  /** CPU threads that compute, or multiprocessors of a GPU. */
  threads: number
  /** True if bfloat16 products are faster than float32 ones. */
  fastBfloat16: boolean
  /** True if `matmulInt8` is available: on x86 processors with VNNI or AMX. */
  int8Products: boolean
  /** Features that matter for speed: instruction sets of a CPU, compute capability of a GPU. */
  detail: string
}

/** Measurements of one kind of operation while profiling was on. */
export interface ProfileEntry {
  /** The operation's name in `operations.def`. */
  operation: string
  /** Sizes of the operands, such as `2048x576x192` for a product; calls are summed by operation and label. */
  label: string
  /** Number of calls. */
  calls: number
  /** Time of all calls together. */
  seconds: number
  /** Arithmetic of all calls together, by the operation's own count. */
  flops: number
  /** Bytes read and written by all calls together, by the operation's own count. */
  bytes: number
}

/** A device of this process, opened once: later calls of `openDevice` return the same stream. */
export interface NativeDevice {
  /** `cpu` or `cuda`. */
  readonly kind: string
  /** Number among the devices of its kind, from 0. */
  readonly index: number
  /** Returns its name, memory and features. */
  facts(): DeviceFacts
  /** Returns its memory in use, and the maximum so far. */
  memory(): MemoryFigures
  /** Makes allocations fail past this many bytes; 0 removes the limit. */
  setMemoryLimit(bytes: number): void
  /** Resets `peak` of `memory()` to the present `inUse`. */
  resetPeak(): void
  /** Returns cached memory to the system; on the CPU also memory that the rest of the process has freed. */
  trim(): void
  /** Sets the number of CPU threads from here on. Results depend on it in their last bits. */
  setThreads(threads: number): void
  /** Sets whether float32 products from here on may round their inputs to TF32. A CPU has no TF32. */
  setAllowTf32(allow: boolean): void
  /**
   * Whether products of up to 32 rows that are enqueued from here on sum each row as if it were alone, so that its result does
   * not depend on the others. Off at first; no effect on GPUs.
   *
   * @internal
   */
  setRowsAlone(alone: boolean): void
  /** Returns the number of operations enqueued and not finished. */
  queueDepth(): number
  /** Resolves when everything enqueued so far is done; rejects with the first error since the last wait. */
  synchronize(): Promise<void>
  /** Starts to measure every operation, dropping earlier measurements; false stops. */
  profile(on: boolean): void
  /** Returns the measurements; call it after `synchronize`. */
  profileReport(): ProfileEntry[]
}

/** A strided view of device memory. Views share their storage, which is freed with the last of them. */
export interface NativeTensor {
  /** The device of the memory. */
  readonly device: NativeDevice
  /** Dtype of the elements in memory. */
  readonly dtype: DType
  /** Dimensions, the slowest first. */
  readonly shape: readonly number[]
  /** Distances between neighbours along each dimension, in elements. */
  readonly strides: readonly number[]
  /** Whether `dispose` was called: then every use throws. */
  readonly disposed: boolean
  /** Returns another view of the same storage; `offset` in elements from this view's start. */
  view(shape: readonly number[], strides: readonly number[], offset: number): NativeTensor
  /** Returns the memory as a dense tensor of another dtype; `offset` in bytes from this dense tensor's start. */
  as(dtype: DType, shape: readonly number[], offset: number): NativeTensor
  /** Copies the values, dense, to a typed array of the dtype (bfloat16 and float16 as bits in a Uint16Array). */
  read(): Promise<Float32Array | Uint16Array | Int32Array | BigInt64Array | Uint8Array>
  /** Copies the values to existing memory of exactly their bytes, which saves V8's garbage collection. */
  read(into: Uint8Array): Promise<Uint8Array>
  /**
   * Copies dense float32 values from the CPU's memory without waiting for enqueued work, which must not write them; returns null
   * for other tensors.
   */
  readAtOnce(): Float32Array | null
  /** Frees this view; the last view frees the memory. */
  dispose(): void
}

/** Recorded operations with their tensors, whose memory lives until `dispose`. */
export interface NativeRecording {
  /** Enqueues all of them again: they read the present values of their inputs and write to the same outputs. */
  replay(): void
  dispose(): void
}

/**
 * This process among the ranks of a job. Every rank makes the same calls in the same order; otherwise they reject
 * (`ranks-differ`). Once a rank is lost or has failed (`rank-failed`), all later calls reject for the same reason, on every
 * rank. If the job has not ended after half of the limit, the addon prints the reason and ends it.
 */
export interface NativeRanks {
  /** Number of this rank, from 0. */
  readonly rank: number
  readonly size: number
  /** The library that connects them, with its version. */
  readonly library: string
  /** Sums the values of all ranks in place; all have the same length. Every rank gets the same bits. */
  sum(values: Float32Array): Promise<Float32Array>
  /** Returns the bytes of one rank on all ranks; lengths may differ. */
  broadcast(bytes: Uint8Array, from: number): Promise<Uint8Array>
  /** Returns the bytes of every rank, by rank; lengths may differ. */
  gather(bytes: Uint8Array): Promise<Uint8Array[]>
  /**
   * Connects the GPU of this process to the GPUs of the other ranks, by NCCL. Resolves with null or, the same on all ranks, with
   * a clause that says which rank has no NCCL and why.
   */
  connectDevice(device: NativeDevice): Promise<string | null>
  /**
   * Sums dense float32 tensors over all ranks, in place, on the CPU or the connected device: after work enqueued before, and
   * concurrently with work enqueued afterwards. Every rank gets the same bits. Resolves when it is done.
   */
  sumOnDevice(tensors: readonly NativeTensor[]): Promise<void>
  /**
   * Gathers the bytes of every rank (uint8 [n]), by rank, into `all` (uint8 [size, n]), both on the CPU or on the connected device:
   * after work enqueued before, and concurrently with work enqueued afterwards. Work enqueued after `wait` runs once the bytes are
   * there; if a rank is lost, it fails or reads arbitrary bytes.
   */
  gatherInto(given: NativeTensor, all: NativeTensor): { wait(): void; done: Promise<void> }
  /** Reports that this rank has failed. */
  abort(reason: string): void
  /** Leaves the job after all calls so far; resolves when every rank has done so. */
  close(): Promise<void>
}

/** A file to read weights from. */
export interface NativeFile {
  readonly size: number
  /** Copies bytes [offset, offset + length); throws past the end. */
  bytes(offset: number, length: number): Uint8Array
  /**
   * Returns the index of the first block of [offset, offset + bytes) with a scale that is not finite, or -1. A block has
   * `blockBytes` bytes, with float16 scales at the byte offsets `places`.
   */
  firstNotFinite(offset: number, bytes: number, blockBytes: number, places: readonly number[]): number
  /** Closes it once every enqueued read of it is done. */
  close(): void
}
