/** Writes GGUF files (version 3, little-endian), tensor by tensor. */
import { dirname, resolve } from 'node:path'
import { RunError } from '../common/errors.js'
import { elementsOf, type FloatDType, type WrittenBlocks } from '../native/addon.js'
import { makeFolder, writeFully, writeStreamAtomic } from './atomic.js'
import { requireFreeSpace } from './disk-space.js'
import { dtypeOfGgmlType, type GgufValue, type ValueType, valueTypes } from './gguf-types.js'
import { blockValues, storedBytes } from './stored-dtype.js'

type ScalarType = Exclude<ValueType, 'array'>
type Scalar = Exclude<GgufValue, GgufValue[]>

/** A metadata value with the type that the file gives it. */
export type GgufField =
  | { type: ScalarType; value: Scalar }
  | { type: 'array'; of: ScalarType; value: readonly Scalar[] }

export const uint32 = (value: number): GgufField => ({ type: 'uint32', value })
export const float32 = (value: number): GgufField => ({ type: 'float32', value: Math.fround(value) })
export const ggufText = (value: string): GgufField => ({ type: 'string', value })
export const bool = (value: boolean): GgufField => ({ type: 'bool', value })
export const list = (of: ScalarType, value: readonly Scalar[]): GgufField => ({ type: 'array', of, value })

export interface GgufEntry {
  name: string
  dtype: FloatDType | WrittenBlocks
  /** Outermost first; the innermost is whole blocks of `dtype`. */
  shape: readonly number[]
  /** The bytes, row-major. Called once, when they are written. */
  data: () => Promise<Uint8Array>
}

const ALIGNMENT = 32

/** Returns the values as a reader of the file sees them. */
export function plainMetadata(fields: ReadonlyMap<string, GgufField>): Map<string, GgufValue> {
  return new Map([...fields].map(([key, field]) => [key, field.type === 'array' ? [...field.value] : field.value]))
}

/**
 * Writes a GGUF file completely or not at all.
 * @throws RunError `disk-full` before anything is written, `write-failed`, `tensor-size` if the size of `data` differs from the
 * shape's
 */
export async function writeGguf(
  path: string,
  fields: ReadonlyMap<string, GgufField>,
  entries: readonly GgufEntry[],
): Promise<void> {
  const { header, sizes } = headerOf(fields, entries)
  const folder = dirname(resolve(path))
  await makeFolder(folder)
  const total = sizes.reduce((sum, bytes) => sum + padded(bytes), header.byteLength)
  await requireFreeSpace(folder, total, path)
  await writeStreamAtomic(path, async (handle) => {
    await writeFully(handle, header)
    for (const [index, { name, shape, dtype, data }] of entries.entries()) {
      const bytes = await data()
      const expected = sizes[index]!
      if (bytes.byteLength !== expected) {
        throw new RunError(
          'tensor-size',
          `${name} of shape [${shape}] and ${dtype} takes ${expected} bytes, but received ${bytes.byteLength}.`,
        )
      }
      await writeFully(handle, bytes)
      await writeFully(handle, new Uint8Array(padded(expected) - expected))
    }
  })
}

function headerOf(
  fields: ReadonlyMap<string, GgufField>,
  entries: readonly GgufEntry[],
): { header: Uint8Array; sizes: number[] } {
  const parts = [
    Buffer.from('GGUF'),
    scalar('uint32', 3),
    scalar('uint64', entries.length),
    scalar('uint64', fields.size),
  ]
  for (const [key, field] of fields) {
    parts.push(scalar('string', key), typeNumber(field.type))
    if (field.type !== 'array') parts.push(scalar(field.type, field.value))
    else {
      parts.push(typeNumber(field.of), scalar('uint64', field.value.length))
      for (const value of field.value) parts.push(scalar(field.of, value))
    }
  }
  const sizes: number[] = []
  let offset = 0
  for (const { name, dtype, shape } of entries) {
    const size = sizeOf(name, dtype, shape)
    parts.push(scalar('string', name), scalar('uint32', shape.length))
    for (const length of shape.toReversed()) parts.push(scalar('uint64', length))
    parts.push(scalar('uint32', ggmlTypeOf(dtype)), scalar('uint64', offset))
    sizes.push(size)
    offset += padded(size)
  }
  const bytes = parts.reduce((sum, part) => sum + part.byteLength, 0)
  return { header: Buffer.concat(parts, padded(bytes)), sizes } // filled up with zeros
}

function padded(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT
}

function sizeOf(name: string, dtype: GgufEntry['dtype'], shape: readonly number[]): number {
  const elements = elementsOf(shape)
  const bytes = (shape.at(-1) ?? 1) % blockValues(dtype) === 0 ? storedBytes(dtype, elements) : null
  if (bytes === null) throw new RangeError(`${name} of shape [${shape}] does not fill blocks of ${dtype}.`)
  return bytes
}

function ggmlTypeOf(dtype: GgufEntry['dtype']): number {
  return [...dtypeOfGgmlType].find(([, known]) => known === dtype)![0]
}

function typeNumber(type: ValueType): Uint8Array {
  return scalar('uint32', valueTypes.indexOf(type))
}

const WRITERS: Record<ScalarType, (value: Scalar) => Uint8Array> = {
  uint8: (value) => Uint8Array.of(Number(value)),
  int8: (value) => bytesOf(Int8Array.of(Number(value))),
  uint16: (value) => bytesOf(Uint16Array.of(Number(value))),
  int16: (value) => bytesOf(Int16Array.of(Number(value))),
  uint32: (value) => bytesOf(Uint32Array.of(Number(value))),
  int32: (value) => bytesOf(Int32Array.of(Number(value))),
  float32: (value) => bytesOf(Float32Array.of(Number(value))),
  float64: (value) => bytesOf(Float64Array.of(Number(value))),
  bool: (value) => Uint8Array.of(value ? 1 : 0),
  uint64: (value) => bytesOf(BigUint64Array.of(BigInt(value))),
  int64: (value) => bytesOf(BigInt64Array.of(BigInt(value))),
  string: (value) => {
    const encoded = Buffer.from(String(value))
    return Buffer.concat([scalar('uint64', encoded.byteLength), encoded])
  },
}

function scalar(type: ScalarType, value: Scalar): Uint8Array {
  return WRITERS[type](value)
}

function bytesOf({ buffer }: { buffer: ArrayBufferLike }): Uint8Array {
  return new Uint8Array(buffer)
}
