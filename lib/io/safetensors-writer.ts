import { dirname, join, resolve } from 'node:path'
import { RunError, UsageError } from '../common/errors.js'
import { makeFolder, writeFileAtomic, writeFully, writeStreamAtomic } from './atomic.js'
import { requireFreeSpace } from './disk-space.js'
import { blockBytes, countElements, type SafetensorsDType, safetensorsNameOf, storedBytes } from './stored-dtype.js'

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
  return header(sizeEntries(entries), defaultMetadata)
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
    await writeFully(handle, header(ordered, metadata))
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
  return sized.reduce((sum, { bytes }) => sum + bytes, header(inFileOrder(sized), metadata).byteLength)
}

/** Formats length and JSON, padded with spaces so that the tensors start at a multiple of 8. */
function header(ordered: readonly SizedEntry<Described>[], metadata: Record<string, string>): Uint8Array {
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
