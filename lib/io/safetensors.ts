/**
 * The safetensors format: 8 bytes little-endian length, that many bytes of JSON, then the tensors' bytes one after the other.
 * Everything in a header is checked against the file before it is used.
 */
import { dirname, join, resolve } from 'node:path'
import { quoted, RunError, UsageError } from '../common/errors.js'
import { makeFolder, writeFileAtomic, writeFully, writeStreamAtomic } from './atomic.js'
import { requireFreeSpace } from './disk-space.js'
import { isJsonObject, type JsonObject, parseJson } from './json.js'
import { decodeUtf8, impostorHint, malformed, readExactly, withInputFile } from './open.js'
import {
  blockBytes,
  countElements,
  dtypeOfSafetensorsName,
  MOST_TENSORS,
  type SafetensorsDType,
  safetensorsNameOf,
  storedBytes,
  type TensorLocation,
} from './stored-dtype.js'

interface SafetensorsFile {
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
  if (offsets === undefined) throw fail('has no data_offsets')
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

/**
 * A tensor to write. Of tensors that share memory (tied embeddings) the caller passes one, under its first name, and the model's
 * configuration says that they are tied.
 */
export interface SafetensorsEntry {
  name: string
  dtype: SafetensorsDType
  shape: readonly number[]
  /**
   * Orders the tensor as if its elements had this many bytes, so that tensors that are computed together stay together. The file
   * stays aligned if such a run of tensors fills whole elements of that size.
   */
  among?: number
  /**
   * Returns the bytes, row-major and little-endian. Called once, when they are written, so that one tensor at a time is in
   * memory; all may use the same buffer.
   */
  data: () => Promise<Uint8Array>
}

/** Tensors in PyTorch's layout: without this metadata, transformers refuses the file. */
const defaultMetadata = { format: 'pt' }

/**
 * Writes a safetensors file, tensor by tensor, completely or not at all. Tensors with wider elements come first, so that each is
 * aligned to its elements; otherwise they keep their order.
 * @throws UsageError `duplicate-tensor`, `unfit-tensor`
 * @throws RunError `disk-full` before anything is written, `write-failed`, `tensor-size` if the size of `data` differs from the
 * shape's
 */
export async function writeSafetensors(
  path: string,
  entries: readonly SafetensorsEntry[],
  metadata: Record<string, string> = defaultMetadata,
): Promise<void> {
  const sized = sizeEntries(entries)
  const folder = dirname(resolve(path))
  await makeFolder(folder)
  await requireFreeSpace(folder, fileBytes(sized, metadata), path)
  await writeFile(path, sized, metadata)
}

/**
 * Writes tensors into a folder in Hugging Face's layout: `model.safetensors` or, past `maxShardBytes`,
 * `model-00001-of-0000N.safetensors` and, last, `model.safetensors.index.json`.
 *
 * The folder must not contain a model; `replaceFolder` makes a new one.
 * @param maxShardBytes most bytes of a file, without its header; a larger tensor gets its own file
 * @returns the names of the files written
 * @throws what `writeSafetensors` throws
 */
export async function writeShardedSafetensors(
  folder: string,
  entries: readonly SafetensorsEntry[],
  { maxShardBytes = 5e9 } = {},
): Promise<string[]> {
  const sized = sizeEntries(entries)
  const shards = splitIntoShards(sized, maxShardBytes)
  await makeFolder(folder)
  const total = shards.reduce((sum, shard) => sum + fileBytes(shard, defaultMetadata), 0)
  await requireFreeSpace(folder, total, 'The model')

  const names = shards.map((_, index) => shardName(index, shards.length))
  for (const [index, shard] of shards.entries()) await writeFile(join(folder, names[index]!), shard, defaultMetadata)
  if (shards.length === 1) return names

  const weightMap = shards.flatMap((shard, index) => shard.map(({ entry }) => [entry.name, names[index]!] as const))
  const index = {
    metadata: { total_size: sized.reduce((sum, { bytes }) => sum + bytes, 0) },
    weight_map: Object.fromEntries(weightMap),
  }
  await writeFileAtomic(join(folder, indexName), `${JSON.stringify(index, null, 2)}\n`)
  return [...names, indexName]
}

/** Returns the header of a file for tensors of one dtype, in this order. */
export function safetensorsHeader(entries: readonly Described[]): Uint8Array {
  return headerOf(sizeEntries(entries), defaultMetadata)
}

export const singleName = 'model.safetensors'
export const indexName = 'model.safetensors.index.json'

interface SizedEntry<Entry = SafetensorsEntry> {
  entry: Entry
  dtypeName: string
  bytes: number
}

type Described = Omit<SafetensorsEntry, 'data'>

function sizeEntries<Entry extends Described>(entries: readonly Entry[]): SizedEntry<Entry>[] {
  const names = new Set<string>(['__metadata__'])
  return entries.map((entry) => {
    const { name, dtype, shape } = entry
    if (names.has(name))
      throw new UsageError('duplicate-tensor', `Two tensors are to be written under the name ${name}.`)
    names.add(name)
    const dtypeName = safetensorsNameOf(dtype)
    if (dtypeName === null) {
      throw new UsageError(
        'unfit-tensor',
        `${name} has dtype ${dtype}, which safetensors cannot hold: dequantise it first.`,
      )
    }
    const count = countElements(shape)
    const bytes = count === null ? null : storedBytes(dtype, count)
    if (bytes === null)
      throw new UsageError('unfit-tensor', `${name} has the impossible shape [${shape}] for ${dtype}.`)
    return { entry, dtypeName, bytes }
  })
}

function splitIntoShards(sized: SizedEntry[], maxShardBytes: number): SizedEntry[][] {
  const shards: SizedEntry[][] = [[]]
  let filled = 0
  for (const tensor of sized) {
    if (filled > 0 && filled + tensor.bytes > maxShardBytes) {
      shards.push([])
      filled = 0
    }
    shards.at(-1)!.push(tensor)
    filled += tensor.bytes
  }
  return shards
}

function shardName(index: number, count: number): string {
  if (count === 1) return singleName
  const five = (number: number) => String(number).padStart(5, '0')
  return `model-${five(index + 1)}-of-${five(count)}.safetensors`
}

async function writeFile(path: string, sized: SizedEntry[], metadata: Record<string, string>): Promise<void> {
  const ordered = inFileOrder(sized)
  await writeStreamAtomic(path, async (handle) => {
    await writeFully(handle, headerOf(ordered, metadata))
    for (const { entry, bytes } of ordered) {
      const data = await entry.data()
      if (data.byteLength !== bytes) {
        throw new RunError(
          'tensor-size',
          `${entry.name} of shape [${entry.shape}] and ${entry.dtype} takes ${bytes} bytes, but received ${data.byteLength}.`,
        )
      }
      await writeFully(handle, data)
    }
  })
}

function inFileOrder<Entry extends Described>(sized: readonly SizedEntry<Entry>[]): SizedEntry<Entry>[] {
  const width = ({ entry: { among, dtype } }: SizedEntry<Entry>) => among ?? blockBytes(dtype)
  return sized.toSorted((a, b) => width(b) - width(a))
}

function fileBytes(sized: SizedEntry[], metadata: Record<string, string>): number {
  return sized.reduce((sum, { bytes }) => sum + bytes, headerOf(inFileOrder(sized), metadata).byteLength)
}

/** Formats length and JSON, padded with spaces so that the tensors start at a multiple of 8. */
function headerOf(ordered: readonly SizedEntry<Described>[], metadata: Record<string, string>): Uint8Array {
  let end = 0
  const tensors = ordered.map(({ entry, dtypeName, bytes }) => {
    const begin = end
    end += bytes
    return [entry.name, { dtype: dtypeName, shape: entry.shape, data_offsets: [begin, end] }] as const
  })
  const json = JSON.stringify({ __metadata__: metadata, ...Object.fromEntries(tensors) })
  const length = Buffer.byteLength(json)
  const padded = Math.ceil(length / 8) * 8
  const bytes = Buffer.alloc(8 + padded, ' ')
  bytes.writeBigUInt64LE(BigInt(padded), 0)
  bytes.write(json, 8)
  return bytes
}
