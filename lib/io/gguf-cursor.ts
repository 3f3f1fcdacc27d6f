import { malformed } from './open.js'

/** Thrown if the header continues past the bytes read so far, but not past the file. */
export class NeedMoreBytes extends Error {
  constructor(readonly needed: number) {
    super(`${needed} bytes of the file are needed`)
  }
}

/** Reads little-endian values from the first bytes of a file, with errors that say where the file ends too soon. */
export class GgufCursor {
  readonly #bytes: Uint8Array

  position = 0
  readonly #view: DataView

  constructor(
    bytes: Uint8Array,
    readonly path: string,
    /** The size of the whole file. */
    readonly size: number,
  ) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Number of bytes of the file after the position. */
  get remaining(): number {
    return this.size - this.position
  }

  uint8 = (what: string) => this.#view.getUint8(this.#advance(1, what))
  int8 = (what: string) => this.#view.getInt8(this.#advance(1, what))
  uint16 = (what: string) => this.#view.getUint16(this.#advance(2, what), true)
  int16 = (what: string) => this.#view.getInt16(this.#advance(2, what), true)
  uint32 = (what: string) => this.#view.getUint32(this.#advance(4, what), true)
  int32 = (what: string) => this.#view.getInt32(this.#advance(4, what), true)
  float32 = (what: string) => this.#view.getFloat32(this.#advance(4, what), true)
  float64 = (what: string) => this.#view.getFloat64(this.#advance(8, what), true)
  uint64 = (what: string) => numberIfSafe(this.#view.getBigUint64(this.#advance(8, what), true))
  int64 = (what: string) => numberIfSafe(this.#view.getBigInt64(this.#advance(8, what), true))

  bool = (what: string): boolean => {
    const byte = this.uint8(what)
    if (byte > 1) throw this.malformed(`${what} is a boolean of value ${byte}`)
    return byte === 1
  }

  string = (what: string): string => {
    const length = this.count(what, 1)
    const start = this.#advance(length, what)
    try {
      return utf8.decode(this.#bytes.subarray(start, start + length))
    } catch {
      throw this.malformed(`${what} is not UTF-8`)
    }
  }

  /** Reads a 64-bit count of items of at least `bytesEach` bytes, for which the file must have enough bytes left. */
  count(what: string, bytesEach: number): number {
    const count = this.uint64(what)
    if (typeof count === 'bigint' || count * bytesEach > this.remaining) {
      throw this.malformed(`${what} claims ${count} × ${bytesEach} bytes, but only ${this.remaining} are left`)
    }
    return count
  }

  malformed(problem: string) {
    return malformed(this.path, problem)
  }

  #advance(length: number, what: string): number {
    const start = this.position
    const end = start + length
    if (end > this.size) throw this.malformed(`it ends at byte ${this.size} inside ${what} (was it cut off?)`)
    if (end > this.#bytes.byteLength) throw new NeedMoreBytes(end)
    this.position = end
    return start
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function numberIfSafe(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}
