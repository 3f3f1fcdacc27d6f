/**
 * An addon that computes nothing: it counts the memory of tensors and the arithmetic of products. The code of models, adapters and
 * training runs on it unchanged, so what it counts is what that code would allocate.
 */
import {
  blockLayouts,
  type DeviceFacts,
  type DType,
  elementsOf,
  isBlockDType,
  type MemoryFigures,
  type Native,
  type NativeDevice,
  type NativeFile,
  type NativeTensor,
  plainLayouts,
} from '../native/addon.js'

/** Every block of memory begins at a multiple of this (native/core/arena.h). */
const ALIGNMENT = 64
/** Longer parts of files are weights, whose values nobody reads here. */
const MOST_READ = 2 ** 16
/** More than any machine has. */
const ENDLESS = 2 ** 50

/** The device of a counting addon: it has the properties of a real one, and any amount of memory. */
export class CountedDevice implements NativeDevice {
  readonly kind: string
  readonly index: number
  /** Floating-point operations so far: of products, and of attention to tokens before. */
  flops = { products: 0, attention: 0 }
  #hasRealMemory = false
  #inUse = 0
  #peak = 0
  readonly #facts: DeviceFacts
  readonly #working: number

  constructor(real: NativeDevice) {
    this.kind = real.kind
    this.index = real.index
    this.#facts = real.facts()
    this.#working = real.memory().working
  }

  facts(): DeviceFacts {
    return this.#hasRealMemory ? this.#facts : { ...this.#facts, totalMemory: ENDLESS }
  }

  memory(): MemoryFigures {
    const cached = this.#hasRealMemory ? 0 : ENDLESS
    return { inUse: this.#inUse, peak: this.#peak, cached, limit: 0, working: this.#working }
  }

  /** Decides something that depends on the memory of the real device. */
  withRealMemory<Result>(decide: () => Result): Result {
    this.#hasRealMemory = true
    try {
      return decide()
    } finally {
      this.#hasRealMemory = false
    }
  }

  resetPeak(): void {
    this.#peak = this.#inUse
  }

  allocate(bytes: number): void {
    this.#inUse += bytes
    this.#peak = Math.max(this.#peak, this.#inUse)
  }

  release(bytes: number): void {
    this.#inUse -= bytes
  }

  setMemoryLimit(): void {}
  trim(): void {}
  setThreads(): void {}
  setAllowTf32(): void {}
  setRowsAlone(): void {}
  profile(): void {}
  profileReport(): [] {
    return []
  }
  queueDepth(): number {
    return 0
  }
  async synchronize(): Promise<void> {}
}

/** Memory that views share. */
class Storage {
  #views = 0
  readonly #bytes: number

  constructor(
    readonly device: CountedDevice,
    bytes: number,
  ) {
    this.#bytes = Math.ceil(Math.max(bytes, 1) / ALIGNMENT) * ALIGNMENT
    device.allocate(this.#bytes)
  }

  retain(): void {
    this.#views++
  }

  release(): void {
    if (--this.#views === 0) this.device.release(this.#bytes)
  }
}

class CountedTensor implements NativeTensor {
  disposed = false

  constructor(
    readonly storage: Storage,
    readonly dtype: DType,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {
    storage.retain()
  }

  get device(): CountedDevice {
    return this.storage.device
  }

  view(shape: readonly number[], strides: readonly number[]): NativeTensor {
    return new CountedTensor(this.storage, this.dtype, shape, strides)
  }

  as(dtype: DType, shape: readonly number[]): NativeTensor {
    return new CountedTensor(this.storage, dtype, shape, denseStrides(shape))
  }

  read(): Promise<Float32Array | Uint16Array | Int32Array | BigInt64Array | Uint8Array>
  read(into: Uint8Array): Promise<Uint8Array>
  async read(into?: Uint8Array) {
    return into ?? zeros(this.dtype, this.shape)
  }

  readAtOnce(): Float32Array | null {
    return this.dtype === 'float32' && this.device.kind === 'cpu' ? new Float32Array(elementsOf(this.shape)) : null
  }

  dispose(): void {
    if (this.disposed) return
    this.disposed = true
    this.storage.release()
  }
}

function denseStrides(shape: readonly number[]): number[] {
  return shape.map((_, axis) => elementsOf(shape.slice(axis + 1)))
}

function bytesOf(dtype: DType, shape: readonly number[]): number {
  const { values, bytes } = isBlockDType(dtype) ? blockLayouts[dtype] : plainLayouts[dtype]
  return (elementsOf(shape) / values) * bytes
}

function zeros(dtype: DType, shape: readonly number[]) {
  const count = elementsOf(shape)
  if (dtype === 'float32') return new Float32Array(count)
  if (dtype === 'bfloat16' || dtype === 'float16') return new Uint16Array(count)
  if (dtype === 'int32') return new Int32Array(count)
  if (dtype === 'int64') return new BigInt64Array(count)
  return new Uint8Array(bytesOf(dtype, shape))
}

type Product = Pick<Parameters<Native['matmul']>[0], 'a' | 'c' | 'transposeA'>
type Attention = Pick<Parameters<Native['attention']>[0], 'q' | 'queryOffsets'>

/** Returns the floating-point operations of a product. */
function productFlops({ a, c, transposeA }: Product): number {
  return 2 * elementsOf(c.shape) * a.shape.at(transposeA ? -2 : -1)!
}

/** Returns the floating-point operations of causal attention in documents of equal length. */
function attentionFlops({ q, queryOffsets }: Attention): number {
  const [tokens, heads, size] = q.shape as [number, number, number]
  const documents = Math.max(1, elementsOf(queryOffsets.shape) - 1)
  return 2 * tokens * (tokens / documents) * heads * size
}

/** Returns a counting addon in place of the real one, and its device in place of `device`. */
export function countingAddon(real: Native, device: NativeDevice): { addon: object; device: CountedDevice } {
  const counted = new CountedDevice(device)
  const make = (dtype: DType, shape: readonly number[]) =>
    new CountedTensor(new Storage(counted, bytesOf(dtype, shape)), dtype, shape, denseStrides(shape))
  const own: Partial<Native> = {
    version: real.version,
    openDevice: () => counted,
    openFile: (path) => unread(real.openFile(path)),
    empty: (_, dtype, shape) => make(dtype, shape),
    fromArray: (_, dtype, shape) => make(dtype, shape),
    fromFile: (_, dtype, shape) => make(dtype, shape),
    record(body) {
      body()
      return { replay() {}, dispose() {} }
    },
    async svd(_, rows, columns, vectors) {
      const side = Math.min(rows, columns)
      const [u, v] = [rows, columns].map((length) => (vectors ? new Float64Array(length * side) : null))
      return { s: new Float64Array(side), u: u!, v: v! }
    },
    orthonormalColumns: (_, rows, columns) => new Float64Array(rows * columns),
    supports: (_, operation, dtypes) => real.supports(device, operation, dtypes),
    foldedSide: (plan, dtype) => real.foldedSide(plan, dtype, device),
    whyUnavailable: (kind) => real.whyUnavailable(kind),
    deviceCount: (kind) => real.deviceCount(kind),
  }
  const product = (operands: Product) => {
    counted.flops.products += productFlops(operands)
  }
  const operations: Readonly<Record<string, (operands: never) => void>> = {
    matmul: product,
    matmulCodes: product,
    matmulInt8: product,
    attention(operands: Attention) {
      counted.flops.attention += attentionFlops(operands)
    },
    attentionBackward(operands: Attention) {
      // Scores again, and the gradients of values, scores, queries and keys.
      counted.flops.attention += 2.5 * attentionFlops(operands)
    },
  }
  const nothing = () => {}
  const addon = new Proxy(own, {
    get: (_, name: string) => Reflect.get(own, name) ?? operations[name] ?? nothing,
  })
  return { addon, device: counted }
}

/** Returns a file of which only headers are read. */
function unread(file: NativeFile): NativeFile {
  return {
    size: file.size,
    bytes: (offset, length) => (length > MOST_READ ? new Uint8Array(length) : file.bytes(offset, length)),
    firstNotFinite: () => -1,
    close: () => file.close(),
  }
}
