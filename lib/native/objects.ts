/** What the addon makes: dtypes, devices, tensors, files. `native.ts` has the functions. */

export type FloatDType = 'float32' | 'bfloat16' | 'float16'
/** Dtypes whose elements lie one by one. */
export type PlainDType = FloatDType | 'int32' | 'int64' | 'uint8'
/** Block formats of GGUF: storage of frozen weights only. */
export type BlockDType =
  | 'q4_0'
  | 'q4_1'
  | 'q5_0'
  | 'q5_1'
  | 'q8_0'
  | 'q2_k'
  | 'q3_k'
  | 'q4_k'
  | 'q5_k'
  | 'q6_k'
  | 'iq4_nl'
  | 'iq4_xs'
  | 'mxfp4'
  | 'tq1_0'
  | 'tq2_0'
/** Every dtype of a tensor. */
export type DType = PlainDType | BlockDType

/** Those that values can be quantised to. */
export type WrittenBlocks = Exclude<BlockDType, 'q2_k' | 'q3_k' | 'tq1_0' | 'tq2_0'>

const plainDTypes: ReadonlySet<DType> = new Set(['float32', 'bfloat16', 'float16', 'int32', 'int64', 'uint8'])

export function isBlockDType(dtype: DType): dtype is BlockDType {
  return !plainDTypes.has(dtype)
}

export function isFloatDType(dtype: string): dtype is FloatDType {
  return dtype === 'float32' || dtype === 'bfloat16' || dtype === 'float16'
}

/** Bytes of a value. */
export function bytesOf(dtype: FloatDType): number {
  return dtype === 'float32' ? 4 : 2
}

/** Number of values of a shape. */
export function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1)
}

/** Far more than any machine has processors. */
export const MAX_THREADS = 1024

/** Memory of a device, in bytes. */
export interface MemoryFigures {
  /** Bytes of live tensors, with this process's part of those that it shares, and of working space. */
  inUse: number
  /** Highest `inUse` since `resetPeak`. */
  peak: number
  /** Bytes held from the system and not in use. */
  cached: number
  /** Bytes past which an allocation fails; 0 is no limit. */
  limit: number
  /**
   * The part of `inUse` that operations keep for themselves from one to the next (scratch memory, cuBLAS's workspace). 0 on the
   * CPU, where it is the process's own.
   */
  working: number
}

/** What a device is. */
export interface DeviceFacts {
  /** As its driver or the system has it. */
  name: string
  /** Tells it from all others: the UUID of a GPU; empty for a CPU. */
  id: string
  /** Bytes. */
  totalMemory: number
  /** CPU threads that compute, or multiprocessors of a GPU. */
  threads: number
  /** True where bfloat16 products are faster than float32 ones. */
  fastBfloat16: boolean
  /** True where `matmulInt8` is there: x86 processors with VNNI or AMX. */
  int8Products: boolean
  /** What matters for speed: instruction sets of a CPU, compute capability of a GPU. */
  detail: string
}

/** Time of one kind of work while profiling was on. */
export interface ProfileEntry {
  /** The operation's name in `operations.def`. */
  operation: string
  /** Sizes of the operands, such as `2048x576x192` for a product; calls are added up by operation and label. */
  label: string
  /** How often it ran. */
  calls: number
  /** Time of all calls together. */
  seconds: number
  /** Arithmetic of all calls together, by the operation's own count. */
  flops: number
  /** Bytes read and written by all calls together, by the operation's own count. */
  bytes: number
}

/** A device of this process. Opened once; later calls of `openDevice` return the same stream. */
export interface NativeDevice {
  /** `cpu` or `cuda`. */
  readonly kind: string
  /** Its number among those of its kind, from 0. */
  readonly index: number
  /** Name, memory and abilities. */
  facts(): DeviceFacts
  /** Memory in use now and at most. */
  memory(): MemoryFigures
  /** Makes allocations fail past so many bytes; 0 removes the limit. */
  setMemoryLimit(bytes: number): void
  /** Sets `peak` of the memory's figures to what is in use now. */
  resetPeak(): void
  /** Gives cached memory back to the system; on the CPU also what the rest of the process has freed. */
  trim(): void
  /** Computes with so many threads from here on. Results depend on the number in their last bits. */
  setThreads(threads: number): void
  /** Whether float32 products from here on may round their inputs to TF32. A CPU has no TF32. */
  setAllowTf32(allow: boolean): void
  /** Operations enqueued and not finished. */
  queueDepth(): number
  /** Resolves when everything enqueued so far is done; rejects with the first error since the last wait. */
  synchronize(): Promise<void>
  /** Starts to measure every operation, and forgets earlier measurements; false ends it. */
  profile(on: boolean): void
  /** After `synchronize`. */
  profileReport(): ProfileEntry[]
}

/** A strided view of device memory. Views share their storage, which is freed with the last of them. */
export interface NativeTensor {
  /** Where the memory lies. */
  readonly device: NativeDevice
  /** How elements are stored. */
  readonly dtype: DType
  /** Dimensions, the slowest first. */
  readonly shape: readonly number[]
  /** In elements. */
  readonly strides: readonly number[]
  /** Whether `dispose` was called: then every use throws. */
  readonly disposed: boolean
  /** Another view of the same storage; `offset` in elements from this view's start. */
  view(shape: readonly number[], strides: readonly number[], offset: number): NativeTensor
  /** The same memory as a dense tensor of another dtype; `offset` in bytes from this dense tensor's start. */
  as(dtype: DType, shape: readonly number[], offset: number): NativeTensor
  /** A dense copy of the values in a typed array of the dtype (bfloat16 and float16 as their bits in a Uint16Array). */
  read(): Promise<Float32Array | Uint16Array | Int32Array | BigInt64Array | Uint8Array>
  /** Into memory of as many bytes, which saves V8 from collecting what was read before. */
  read(into: Uint8Array): Promise<Uint8Array>
  /**
   * A copy of dense float32 values in the memory of the CPU, without waiting for what is enqueued, which must not write them;
   * null of others.
   */
  readAtOnce(): Float32Array | null
  /** Frees this view, and the memory with its last view. */
  dispose(): void
}

/** Operations with the tensors that they were called with, whose memory lives until `dispose`. */
export interface NativeRecording {
  /** Enqueues all of them again: they read what their inputs hold by then, and write into the same outputs. */
  replay(): void
  dispose(): void
}

/**
 * This process among the ranks of a job. Every rank makes the same calls in the same order: otherwise they are rejected
 * (`ranks-differ`). Once a rank is lost or has failed (`rank-failed`), all that follow are rejected for the same
 * reason, on every rank. If the job has not ended half of the limit later, the addon prints the reason and ends it.
 */
export interface NativeRanks {
  /** From 0. */
  readonly rank: number
  readonly size: number
  /** The library that connects them, with its version. */
  readonly library: string
  /** Adds up the values of all ranks in place, as many on each. Every rank gets the same bits. */
  sum(values: Float32Array): Promise<Float32Array>
  /** Returns the bytes of one rank on all ranks, which may give more or fewer. */
  broadcast(bytes: Uint8Array, from: number): Promise<Uint8Array>
  /** Returns what each rank gives, by rank, which may be more or fewer. */
  gather(bytes: Uint8Array): Promise<Uint8Array[]>
  /**
   * Connects the GPU of this process with those of the other ranks, by NCCL: resolves with null, or, the same on all ranks, with
   * a clause that says which rank has no NCCL and why.
   */
  connectDevice(device: NativeDevice): Promise<string | null>
  /**
   * Adds up dense float32 tensors of one device, of the CPU or connected, over all ranks, in place, once everything enqueued before is
   * done, and beside what is enqueued afterwards. Every rank gets the same bits. Resolves when it is done.
   */
  sumOnDevice(tensors: readonly NativeTensor[]): Promise<void>
  /**
   * What each rank gives (uint8 [n]), by rank, into `all` (uint8 [size, n]), both on the CPU or on the connected device: once what was
   * enqueued before is done, and beside what is enqueued afterwards. What is enqueued after `wait` finds it there; where a rank
   * is lost it fails, or finds any bytes.
   */
  gatherInto(given: NativeTensor, all: NativeTensor): { wait(): void; done: Promise<void> }
  /** Says that this rank has failed. */
  abort(reason: string): void
  /** Says goodbye after all calls so far; resolves when every rank has. */
  close(): Promise<void>
}

/** A file to read weights from. */
export interface NativeFile {
  readonly size: number
  /** A copy of bytes [offset, offset + length); throws past the end. */
  bytes(offset: number, length: number): Uint8Array
  /**
   * The first block of [offset, offset + bytes) with a scale that is not finite, or -1. Each has `blockBytes` bytes, and float16
   * scales so many bytes from its start.
   */
  firstNotFinite(offset: number, bytes: number, blockBytes: number, places: readonly number[]): number
  /** Closes it once every enqueued read of it is done. */
  close(): void
}
