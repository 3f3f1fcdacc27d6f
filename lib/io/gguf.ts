/**
 * Reads the header of a GGUF file (versions 2 and 3, little-endian): metadata and the location of each tensor. Counts and
 * lengths are checked against the rest of the file before anything is allocated for them.
 */
import { quoted } from '../common/errors.js'
import { GgufCursor, NeedMoreBytes } from './gguf-cursor.js'
import {
  dtypeOfGgmlType,
  type GgufFile,
  type GgufValue,
  smallestValueBytes,
  type ValueType,
  valueTypes,
} from './gguf-types.js'
import { impostorHint, malformed, readExactly, withInputFile } from './open.js'
import { blockValues, countElements, MOST_TENSORS, storedBytes, type TensorLocation } from './stored-dtype.js'

export type { GgufFile, GgufValue } from './gguf-types.js'

const magic = 'GGUF'
const FIRST_CHUNK = 4 * 2 ** 20
/** Limit of the header: ten times that with a tokenizer of a million entries. */
const MAX_HEADER_BYTES = 512 * 2 ** 20
const MAX_ARRAY_DEPTH = 4
const MAX_DIMENSIONS = 4
const DEFAULT_ALIGNMENT = 32

/**
 * Reads and checks the header of a GGUF file, in growing chunks.
 * @throws UsageError `missing-file`
 * @throws InputError `malformed-file` with the file and what is wrong
 */
export async function readGguf(path: string): Promise<GgufFile> {
  return withInputFile(path, async (handle, size) => {
    for (let chunk = FIRST_CHUNK; ; ) {
      const bytes = await readExactly(handle, path, 0, Math.min(chunk, size))
      try {
        return parseHeader(new GgufCursor(bytes, path, size))
      } catch (error) {
        if (!(error instanceof NeedMoreBytes)) throw error
        if (error.needed > MAX_HEADER_BYTES)
          throw malformed(path, `its header is longer than ${MAX_HEADER_BYTES} bytes`)
        chunk = Math.min(Math.max(chunk * 4, error.needed), MAX_HEADER_BYTES)
      }
    }
  })
}

/** A tensor as the header describes it; `offset` counts from the start of the data. */
interface TensorInfo extends TensorLocation {
  name: string
}

function parseHeader(cursor: GgufCursor): GgufFile {
  requireVersion(cursor)
  // Fewest bytes: a tensor has the length of its name, its rank, type and offset, a metadata entry the length of its key, its
  // type and one byte.
  const tensorCount = cursor.count('the number of tensors', 24)
  if (tensorCount > MOST_TENSORS) throw cursor.malformed(`it has more than ${MOST_TENSORS} tensors`)
  const metadataCount = cursor.count('the number of metadata entries', 13)
  const metadata = readMetadata(cursor, metadataCount)
  const alignment = readAlignment(cursor, metadata)
  const infos = readTensorInfos(cursor, tensorCount, alignment)
  const dataStart = Math.ceil(cursor.position / alignment) * alignment
  checkPlaces(cursor, infos, dataStart)
  const tensors = infos.map(({ name, offset, ...rest }) => [name, { ...rest, offset: dataStart + offset }] as const)
  return { path: cursor.path, metadata, tensors: new Map(tensors) }
}

function requireVersion(cursor: GgufCursor): void {
  const start = new Uint8Array(Math.min(64, cursor.size)).map(() => cursor.uint8('the magic'))
  cursor.position = 0
  const found = Buffer.from(start.subarray(0, 4)).toString('latin1')
  if (found !== magic) throw cursor.malformed(`it does not start with "${magic}"${impostorHint(start)}`)
  cursor.position = 4
  const version = cursor.uint32('the version')
  if (version === 2 || version === 3) return
  if ((version & 0xffff) === 0) throw cursor.malformed('it is big-endian, and only little-endian files can be read')
  throw cursor.malformed(`it has version ${version}, and only versions 2 and 3 can be read`)
}

function readMetadata(cursor: GgufCursor, count: number): Map<string, GgufValue> {
  const metadata = new Map<string, GgufValue>()
  for (let index = 0; index < count; index++) {
    const key = cursor.string(`the key of metadata entry ${index}`)
    const what = `metadata ${quoted(key)}`
    if (metadata.has(key)) throw cursor.malformed(`${what} is given twice`)
    metadata.set(key, readValue(cursor, readValueType(cursor, what), what, 0))
  }
  return metadata
}

function readValueType(cursor: GgufCursor, what: string): ValueType {
  const number = cursor.uint32(what)
  const type = valueTypes[number]
  if (type === undefined) throw cursor.malformed(`${what} has the unknown value type ${number}`)
  return type
}

function readValue(cursor: GgufCursor, type: ValueType, what: string, depth: number): GgufValue {
  if (type !== 'array') return cursor[type](what)
  if (depth === MAX_ARRAY_DEPTH) throw cursor.malformed(`${what} nests arrays more than ${MAX_ARRAY_DEPTH} deep`)
  const elementType = readValueType(cursor, what)
  const count = cursor.count(what, smallestValueBytes[elementType])
  const values: GgufValue[] = []
  for (let index = 0; index < count; index++) values.push(readValue(cursor, elementType, what, depth + 1))
  return values
}

function readAlignment(cursor: GgufCursor, metadata: Map<string, GgufValue>): number {
  const alignment = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT
  const isPowerOfTwo = typeof alignment === 'number' && alignment > 0 && Number.isInteger(Math.log2(alignment))
  if (!isPowerOfTwo || alignment > 2 ** 30) {
    throw cursor.malformed(`general.alignment is ${alignment}, which is no power of two up to 2^30`)
  }
  return alignment
}

function readTensorInfos(cursor: GgufCursor, count: number, alignment: number): TensorInfo[] {
  const names = new Set<string>()
  const infos: TensorInfo[] = []
  for (let index = 0; index < count; index++) {
    const info = readTensorInfo(cursor, `tensor ${index}`, alignment)
    if (names.has(info.name)) throw cursor.malformed(`tensor ${quoted(info.name)} is listed twice`)
    names.add(info.name)
    infos.push(info)
  }
  return infos
}

function readTensorInfo(cursor: GgufCursor, position: string, alignment: number): TensorInfo {
  const name = cursor.string(`the name of ${position}`)
  const what = `tensor ${quoted(name)}`
  const rank = cursor.uint32(what)
  if (rank > MAX_DIMENSIONS) throw cursor.malformed(`${what} has ${rank} dimensions, more than ${MAX_DIMENSIONS}`)
  const sizes = Array.from({ length: rank }, () => cursor.uint64(what))
  const type = cursor.uint32(what)
  const offset = cursor.uint64(what)
  const dtype = dtypeOfGgmlType.get(type)
  if (dtype === undefined) throw cursor.malformed(`${what} has the unknown type ${type}`)
  const shape = sizes.map(Number).reverse()
  const elements = countElements(shape)
  const bytes = elements === null ? null : storedBytes(dtype, elements)
  if (bytes === null || (shape.at(-1) ?? 1) % blockValues(dtype) !== 0) {
    throw cursor.malformed(
      `${what} has the impossible shape [${shape}] for ${dtype}, which takes rows of a multiple of ${blockValues(dtype)}`,
    )
  }
  if (typeof offset === 'bigint' || offset % alignment !== 0) {
    throw cursor.malformed(`${what} has the offset ${offset}, which is no multiple of the alignment ${alignment}`)
  }
  return { name, path: cursor.path, dtype, shape, bytes, offset }
}

/** Checks that tensors are within the file and do not overlap; gaps between them are allowed. */
function checkPlaces(cursor: GgufCursor, infos: TensorInfo[], dataStart: number): void {
  let end = 0
  let previous = ''
  for (const { name, offset, bytes } of infos.toSorted((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    const what = `tensor ${quoted(name)}`
    if (offset < end) throw cursor.malformed(`${what} overlaps ${previous}`)
    end = offset + bytes
    previous = what
    if (dataStart + end > cursor.size) {
      throw cursor.malformed(
        `${what} ends at byte ${dataStart + end}, but the file has ${cursor.size} (was it cut off?)`,
      )
    }
  }
}
