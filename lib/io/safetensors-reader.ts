/**
 * Reads the header of a safetensors file: 8 bytes little-endian length, that many bytes of JSON, then the tensors' bytes one
 * after the other. Everything in the header is checked against the file before it is used.
 */
import { quoted } from '../common/errors.js'
import { isJsonObject, type JsonObject, parseJson } from './json.js'
import { decodeUtf8, impostorHint, malformed, readExactly, withInputFile } from './open.js'
import {
  countElements,
  dtypeOfSafetensorsName,
  MOST_TENSORS,
  storedBytes,
  type TensorLocation,
} from './stored-dtype.js'

export interface SafetensorsFile {
  path: string
  /** The file's `__metadata__`; empty if it has none. */
  metadata: Record<string, string>
  /** Tensors by name, in the order of their bytes. */
  tensors: Map<string, TensorLocation>
}

/** Longest header that is accepted, as in the format's own library. */
const MAX_HEADER_BYTES = 100_000_000
const LENGTH_BYTES = 8

/**
 * Reads and checks the header of a safetensors file. Tensor offsets count from the start of the file.
 * @throws UsageError `missing-file`
 * @throws InputError `malformed-file`, `malformed-json` with the file and the problem
 */
export async function readSafetensorsHeader(path: string): Promise<SafetensorsFile> {
  return withInputFile(path, async (handle, size) => {
    if (size < LENGTH_BYTES) throw malformed(path, `it has ${size} bytes, fewer than a safetensors header`)
    const start = await readExactly(handle, path, 0, Math.min(size, 64))
    const length = start.readBigUInt64LE(0)
    if (length > MAX_HEADER_BYTES || length > size - LENGTH_BYTES) {
      const limit = length > MAX_HEADER_BYTES ? `at most ${MAX_HEADER_BYTES} are allowed` : `the file has ${size} bytes`
      throw malformed(path, `its header claims ${length} bytes, but ${limit}${impostorHint(start)}`)
    }
    const header = await readExactly(handle, path, LENGTH_BYTES, Number(length))
    return { path, ...parseHeader(header, path, size) }
  })
}

function parseHeader(header: Buffer, path: string, size: number): Pick<SafetensorsFile, 'metadata' | 'tensors'> {
  if (header[0] !== 0x7b) throw malformed(path, "its header does not start with '{'")
  const json = parseJson(decodeUtf8(header, path), `The header of ${path}`, { uniqueKeys: true }) as JsonObject
  const described = Object.entries(json)
  if (described.length > MOST_TENSORS) throw malformed(path, `it has more than ${MOST_TENSORS} tensors`)
  const dataStart = LENGTH_BYTES + header.length
  const entries: [string, TensorLocation][] = []
  let metadata: Record<string, string> = {}
  for (const [name, entry] of described) {
    if (name === '__metadata__') metadata = checkMetadata(entry, path)
    else entries.push([name, checkTensor(name, entry, path, dataStart, size)])
  }
  entries.sort(([, a], [, b]) => a.offset - b.offset || a.bytes - b.bytes)
  checkCoverage(entries, path, dataStart, size)
  return { metadata, tensors: new Map(entries) }
}

function checkMetadata(value: unknown, path: string): Record<string, string> {
  if (!isJsonObject(value)) throw malformed(path, '__metadata__ is not an object')
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') throw malformed(path, `__metadata__ has ${quoted(key)}, which is not a string`)
  }
  return value as Record<string, string>
}

function checkTensor(name: string, entry: unknown, path: string, dataStart: number, size: number): TensorLocation {
  const fail = (problem: string) => malformed(path, `tensor ${quoted(name)} ${problem}`)
  if (!isJsonObject(entry)) throw fail('is not described by an object')
  const { dtype: dtypeName, shape, data_offsets: offsets } = entry
  if (typeof dtypeName !== 'string') throw fail('has no dtype')
  const dtype = dtypeOfSafetensorsName(dtypeName)
  if (dtype === null) throw fail(`has the unknown dtype ${quoted(dtypeName)}`)
  if (!Array.isArray(shape)) throw fail('has no shape')
  const count = countElements(shape)
  const bytes = count === null ? null : storedBytes(dtype, count)
  if (bytes === null) throw fail(`has the impossible shape ${quoted(shape)} for ${dtypeName}`)
  if (!isRange(offsets)) throw fail(`has the impossible data_offsets ${quoted(offsets)}`)
  const [begin, end] = offsets
  if (dataStart + end > size) {
    throw fail(`ends at byte ${dataStart + end}, but the file has ${size} bytes (was it cut off?)`)
  }
  if (end - begin !== bytes) {
    throw fail(`of shape [${shape}] and ${dtypeName} takes ${bytes} bytes, but its data_offsets give ${end - begin}`)
  }
  return { path, dtype, shape, offset: dataStart + begin, bytes }
}

function isRange(value: unknown): value is [number, number] {
  if (!Array.isArray(value) || value.length !== 2) return false
  const [begin, end] = value
  return Number.isSafeInteger(begin) && Number.isSafeInteger(end) && begin >= 0 && end >= begin
}

/** Checks that tensors follow each other without gaps from the header's end to the file's end. */
function checkCoverage(entries: [string, TensorLocation][], path: string, dataStart: number, size: number): void {
  let end = dataStart
  let previous = 'the header'
  for (const [name, { offset, bytes }] of entries) {
    const tensor = `tensor ${quoted(name)}`
    if (offset < end) throw malformed(path, `${tensor} overlaps ${previous}`)
    if (offset > end)
      throw malformed(path, `${offset - end} bytes between ${previous} and ${tensor} belong to no tensor`)
    end = offset + bytes
    previous = tensor
  }
  if (end !== size) throw malformed(path, `${size - end} bytes after ${previous} belong to no tensor`)
}
