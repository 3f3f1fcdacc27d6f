/**
 * The whole surface of the native addon, and how its binary is found.
 *
 * Every operation checks shapes, dtypes and devices when it is called (a `NativeError` that names the operation, what
 * was expected and what came), enqueues on the device's stream and returns at once. Outputs are arguments: the caller
 * allocates them. An error on the stream rejects the next promise of that device.
 *
 * Letters in shapes: T tokens, D hidden, F features, H query heads, K key-value heads, E head size, V vocabulary,
 * R side of MoRA's matrix, B documents.
 */
import { loadBinary } from './native-binary.js'

export type FloatDType = 'float32' | 'bfloat16' | 'float16'
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
export type DType = PlainDType | BlockDType

const plainDTypes: ReadonlySet<DType> = new Set(['float32', 'bfloat16', 'float16', 'int32', 'int64', 'uint8'])

export function isBlockDType(dtype: DType): dtype is BlockDType {
  return !plainDTypes.has(dtype)
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

export interface MemoryFigures {
  /** Bytes of live tensors and of working space. */
  inUse: number
  /** Highest `inUse` since `resetPeak`. */
  peak: number
  /** Bytes held from the system and not in use. */
  cached: number
  /** Bytes past which an allocation fails; 0 is no limit. */
  limit: number
  /**
   * Of `inUse`: what operations keep for themselves from one to the next (scratch memory, cuBLAS's workspace). 0 on the
   * CPU, where it is the process's own.
   */
  working: number
}

export interface DeviceFacts {
  name: string
  totalMemory: number
  threads: number
  /** True where bfloat16 products are faster than float32 ones. */
  fastBfloat16: boolean
  /** True where `matmulInt8` is there: x86 processors with VNNI or AMX. */
  int8Products: boolean
  detail: string
}

export interface ProfileEntry {
  operation: string
  label: string
  calls: number
  seconds: number
  flops: number
  bytes: number
}

/** A device of this process. Opened once; later calls of `openDevice` return the same stream. */
export interface NativeDevice {
  readonly kind: string
  readonly index: number
  facts(): DeviceFacts
  memory(): MemoryFigures
  setMemoryLimit(bytes: number): void
  resetPeak(): void
  /** Gives cached memory back to the system. */
  trim(): void
  setThreads(threads: number): void
  /** Whether float32 products from here on may round their inputs to TF32. A CPU has no TF32. */
  setAllowTf32(allow: boolean): void
  /** Operations enqueued and not finished. */
  queueDepth(): number
  /** Resolves when everything enqueued so far is done; rejects with the first error since the last wait. */
  synchronize(): Promise<void>
  profile(on: boolean): void
  /** After `synchronize`. */
  profileReport(): ProfileEntry[]
}

/** A strided view of device memory. Views share their storage, which is freed with the last of them. */
export interface NativeTensor {
  readonly device: NativeDevice
  readonly dtype: DType
  readonly shape: readonly number[]
  /** In elements. */
  readonly strides: readonly number[]
  readonly disposed: boolean
  /** Another view of the same storage; `offset` in elements from this view's start. */
  view(shape: readonly number[], strides: readonly number[], offset: number): NativeTensor
  /** A dense copy of the values in a typed array of the dtype (bfloat16 and float16 as their bits in a Uint16Array). */
  read(): Promise<Float32Array | Uint16Array | Int32Array | BigInt64Array | Uint8Array>
  /** Into memory of as many bytes, which saves V8 from collecting what was read before. */
  read(into: Uint8Array): Promise<Uint8Array>
  dispose(): void
}

/** Operations with the tensors that they were called with, whose memory lives until `dispose`. */
export interface NativeRecording {
  /** Enqueues all of them again: they read what their inputs hold by then, and write into the same outputs. */
  replay(): void
  dispose(): void
}

/** A file to read weights from. */
export interface NativeFile {
  readonly size: number
  /** A copy of bytes [offset, offset + length); throws past the end. */
  bytes(offset: number, length: number): Uint8Array
  /** Unmaps once every enqueued read of it is done. */
  close(): void
}

export type GroupKind = 'tile' | 'runs'
/** How `width` columns fall into `side` groups; `wrap`: the padding of `tile` repeats the start. See native/mora/geometry.h. */
export interface Grouping {
  kind: GroupKind
  wrap: boolean
  width: number
  side: number
}
/** Rotation, decoupling, truncation as products of blocks. See native/mora/geometry.h. */
export interface BlockPlan {
  inFeatures: number
  outFeatures: number
  side: number
  rotate: boolean
  truncate: boolean
  foldOutput: boolean
}
/** The mask of (row, column) depends on `key` and the row's key only. */
export interface DropoutKey {
  key: readonly [number, number]
  probability: number
}
/** How `sample` draws; `topK` 0 and `topP` 1 leave all tokens. */
export interface NativeSampling {
  temperature: number
  topK: number
  topP: number
}
/** x sigmoid(x); x Φ(x); its approximation by tanh; max(x, 0). */
export type Activation = 'silu' | 'gelu' | 'geluTanh' | 'relu'
/** Scores are scale · q·k, with a softcap > 0 softcap · tanh of it / softcap; with a window > 0 a query sees that many keys. */
export interface AttentionScoring {
  scale: number
  softcap: number
  window: number
}
export interface AdamWStep {
  learningRate: number
  beta1: number
  beta2: number
  epsilon: number
  weightDecay: number
  /** Counted from 1. */
  step: number
}

/** Row-major, in double precision; see `Native.svd`. */
export interface SingularValues {
  s: Float64Array
  u: Float64Array | null
  v: Float64Array | null
}

type T = NativeTensor
type Optional = NativeTensor | null

export interface Native {
  readonly version: string
  /** Opens `cpu` or `cuda`; throws with the reason where the backend is absent. `threads` 0: all cores. */
  openDevice(kind: string, index: number, threads: number): NativeDevice
  /** Why a backend cannot be used here, or null when it can. */
  whyUnavailable(kind: string): string | null
  /** How many devices of a kind there are; 0 where its backend cannot be used. */
  deviceCount(kind: string): number
  /** Names and versions of the native libraries in use. */
  libraries(): { name: string; version: string }[]
  openFile(path: string): NativeFile

  empty(device: NativeDevice, dtype: DType, shape: readonly number[]): T
  /** Copies a typed array's values (Uint16Array holds bits of bfloat16 or float16; Uint8Array also whole blocks). */
  fromArray(device: NativeDevice, dtype: DType, shape: readonly number[], values: ArrayBufferView): T
  /** Loads bytes of a file, in stream order: the next wait is rejected where they are not there any more. */
  fromFile(device: NativeDevice, dtype: DType, shape: readonly number[], file: NativeFile, offset: number): T

  /** Calls `body`, which must be synchronous, and records the operations that it enqueues. */
  record(body: () => void): NativeRecording

  /**
   * The thin singular value decomposition of row-major values [m, n], in double precision, off the event loop:
   * values = u [m, p] diag(s [p]) v [n, p]ᵀ with p = min(m, n) and s falling. u and v are null unless `vectors`.
   */
  svd(values: Float32Array, rows: number, columns: number, vectors: boolean): Promise<SingularValues>
  /** The Q [m, n] of values [m, n] = Q R, m ≥ n: orthonormal columns, in double precision. Computed before it returns. */
  orthonormalColumns(values: Float32Array, rows: number, columns: number): Float64Array

  fill(target: T, value: number): void
  /** target = scale * source, converting. */
  copy(source: T, target: T, scale: number): void
  /** target += scale * source */
  add(source: T, target: T, scale: number): void
  /** target (float32) = scale * a * b by elements (+ target), all [rows, columns]; b is float32, and may be the target. */
  multiply(a: T, b: T, target: T, scale: number, accumulate: boolean): void
  dequantise(source: T, target: T): void

  /**
   * c = alpha op(a) op(b) (+ c). Rank 2, or 3 with a leading batch. On the CPU, a matrix b that is transposed may be in a
   * block format; native/cpu/few_rows.h says what becomes of a then.
   */
  matmul(a: T, transposeA: boolean, b: T, transposeB: boolean, c: T, alpha: number, accumulate: boolean): void
  /**
   * c (+)= a bᵀ or a b for a weight b [d, k], where rows of both are rounded to 8 bits of their largest value;
   * native/cpu/rounded_rows.h says after what.
   */
  matmulInt8(a: T, b: T, transposeB: boolean, c: T, accumulate: boolean): void
  addBias(bias: T, y: T): void
  columnSums(x: T, sums: T, accumulate: boolean): void

  embedding(table: T, ids: T, y: T): void
  embeddingBackward(dY: T, ids: T, dTable: T): void
  gatherRows(x: T, rows: T, y: T): void
  /** y at distinct rows = x; other rows stay. */
  scatterRows(x: T, rows: T, y: T): void
  gatherColumns(x: T, columns: T, y: T, accumulate: boolean): void

  /** x += residual in place if given; y = x rstd (weightOffset + weight); rstd [T], or [T, heads] of x [T, heads, D]. */
  rmsNorm(x: T, residual: Optional, weight: T, weightOffset: number, epsilon: number, y: Optional, rstd: Optional): void
  rmsNormApply(x: T, weight: T, weightOffset: number, rstd: T, y: T): void
  rmsNormBackward(
    dY: T,
    x: T,
    weight: T,
    weightOffset: number,
    rstd: T,
    dX: T,
    accumulate: boolean,
    dWeight: Optional,
  ): void
  /** y = (x - mean) rstd weight + bias; mean, rstd [T]. */
  layerNorm(x: T, weight: T, bias: Optional, epsilon: number, y: T, mean: T, rstd: T): void
  layerNormApply(x: T, weight: T, bias: Optional, mean: T, rstd: T, y: T): void
  layerNormBackward(
    dY: T,
    x: T,
    weight: T,
    mean: T,
    rstd: T,
    dX: T,
    accumulate: boolean,
    dWeight: Optional,
    dBias: Optional,
  ): void
  /** Rotates the first 2 · columns elements of every head; cosines, sines [P, columns]. */
  rope(x: T, positions: T, cosines: T, sines: T, inverse: boolean): void
  /** y = f(gate) up, or f(gate). */
  activation(f: Activation, gate: T, up: Optional, y: T): void
  activationBackward(f: Activation, dY: T, gate: T, up: Optional, dGate: T, dUp: Optional): void
  dropout(x: T, rowKeys: T, key: DropoutKey, y: T): void

  attention(q: T, k: T, v: T, queryOffsets: T, keyOffsets: T, scoring: AttentionScoring, out: T, lse: Optional): void
  attentionBackward(
    dOut: T,
    q: T,
    k: T,
    v: T,
    out: T,
    lse: T,
    queryOffsets: T,
    keyOffsets: T,
    scoring: AttentionScoring,
    dQ: T,
    dK: T,
    dV: T,
  ): void

  /** Of capped logits where softcap > 0; dLogits is the gradient of the logits before. */
  crossEntropy(logits: T, targets: T, softcap: number, losses: T, dLogits: Optional): void
  /** logits = softcap tanh(logits / softcap), in place. */
  capLogits(logits: T, softcap: number): void
  sum(x: T, total: T, accumulate: boolean): void

  /** ids [N] = columns of the largest logits [N, V]; -1 - column of what is not finite in rows that have none. */
  argmax(logits: T, ids: T): void
  /** ids [N] = columns drawn with the uniform numbers draws [N] / 2^53; rows without a finite largest as in `argmax`. */
  sample(logits: T, draws: T, sampling: NativeSampling, ids: T): void

  globalNorm(gradients: readonly T[], norm: T): void
  clipScale(norm: T, gradientScale: number, maxNorm: number, scale: T): void
  adamw(
    parameters: readonly T[],
    gradients: readonly T[],
    firstMoments: readonly T[],
    secondMoments: readonly T[],
    step: AdamWStep,
    scale: T,
  ): void
  countNonFinite(x: T, count: T, accumulate: boolean): void
  /** largest [1] float32 = the largest of all |a - b| (and, to `accumulate`, of itself). NaN counts as nothing. */
  largestDifference(a: T, b: T, largest: T, accumulate: boolean): void

  groupSum(grouping: Grouping, source: T, target: T, accumulate: boolean): void
  groupSpread(grouping: Grouping, source: T, target: T, accumulate: boolean): void
  /** Side W of the folded matrices [n, W, W] for activations of that dtype: R, or that of aligned windows. */
  foldedSide(plan: BlockPlan, dtype: DType, device: NativeDevice): number
  foldBlocks(plan: BlockPlan, matrix: T, folded: T): void
  unfoldBlocks(plan: BlockPlan, dFolded: T, dMatrix: T, accumulate: boolean): void
  blocksForward(plan: BlockPlan, x: T, folded: T, y: T, accumulate: boolean): void
  blocksBackwardInput(plan: BlockPlan, dY: T, folded: T, dX: T, accumulate: boolean): void
  blocksBackwardWeight(plan: BlockPlan, x: T, dY: T, dFolded: T): void
  mergeGroups(input: Grouping, output: Grouping, matrix: T, scale: number, weight: T, nonFinite: Optional): void
  mergeBlocks(plan: BlockPlan, folded: T, scale: number, weight: T, nonFinite: Optional): void
  /** weight [d, k] += scale b [d, r] a [r, k] of float32 factors, rounded once. */
  mergeFactors(b: T, a: T, scale: number, weight: T, nonFinite: Optional): void
}

/** The addon. Loaded at the first use, so that help and errors need no binary. */
export const native: Native = new Proxy({} as Native, {
  get(_, name) {
    return Reflect.get(loadBinary() as object, name)
  },
})
