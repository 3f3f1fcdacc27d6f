/** Builds GGUF files, valid or not; a test gives the unusual parts. */

/** A metadata value with GGUF's number of its type. */
export interface TypedValue {
  type: number
  bytes: Uint8Array
}

export interface GgufParts {
  magic?: string
  version?: number
  /** Counts in the header; the real ones if omitted. */
  tensorCount?: bigint
  metadataCount?: bigint
  metadata?: [string, TypedValue][]
  tensors?: { name: string; sizes: (number | bigint)[]; type: number; offset: number | bigint }[]
  alignment?: number
  dataBytes?: number
}

export const uint8 = (value: number): TypedValue => ({ type: 0, bytes: Uint8Array.of(value) })
export const uint32 = (value: number): TypedValue => ({ type: 4, bytes: u32(value) })
export const float32 = (value: number): TypedValue => ({
  type: 6,
  bytes: new Uint8Array(Float32Array.of(value).buffer),
})
export const bool = (value: number): TypedValue => ({ type: 7, bytes: Uint8Array.of(value) })
export const text = (value: string): TypedValue => ({ type: 8, bytes: stringBytes(value) })
export const uint64 = (value: bigint): TypedValue => ({ type: 10, bytes: u64(value) })
export const int64 = (value: bigint): TypedValue => ({ type: 11, bytes: u64(BigInt.asUintN(64, value)) })
export const float64 = (value: number): TypedValue => ({
  type: 12,
  bytes: new Uint8Array(Float64Array.of(value).buffer),
})

/** An array of values of one type; `count` is the claimed length. */
export function array(type: number, values: TypedValue[], count: bigint = BigInt(values.length)): TypedValue {
  return { type: 9, bytes: Buffer.concat([u32(type), u64(count), ...values.map(({ bytes }) => bytes)]) }
}

export function ggufBytes(parts: GgufParts): Uint8Array {
  const { metadata = [], tensors = [], alignment = 32, dataBytes = 0 } = parts
  const header = Buffer.concat([
    Buffer.from(parts.magic ?? 'GGUF'),
    u32(parts.version ?? 3),
    u64(parts.tensorCount ?? BigInt(tensors.length)),
    u64(parts.metadataCount ?? BigInt(metadata.length)),
    ...metadata.flatMap(([key, { type, bytes }]) => [stringBytes(key), u32(type), bytes]),
    ...tensors.flatMap(({ name, sizes, type, offset }) => [
      stringBytes(name),
      u32(sizes.length),
      ...sizes.map((size) => u64(BigInt(size))),
      u32(type),
      u64(BigInt(offset)),
    ]),
  ])
  const padding = dataBytes === 0 ? 0 : (alignment - (header.length % alignment)) % alignment
  return Buffer.concat([header, Buffer.alloc(padding + dataBytes)])
}

function stringBytes(value: string): Uint8Array {
  return Buffer.concat([u64(BigInt(Buffer.byteLength(value))), Buffer.from(value)])
}

function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer)
}

function u64(value: bigint): Uint8Array {
  return new Uint8Array(BigUint64Array.of(value).buffer)
}
