/** Changes of a safetensors file that keep the rest valid. */
import { joined, mutateBytes, oddIntegers, writeInteger } from '../mutate-bytes.js'
import { mutatedJson } from '../mutate-json.js'
import { chance, choose, pick, type Random } from '../random.js'

type Entry = { dtype: string; shape: number[]; data_offsets: [number, number] }

export function mutateSafetensors(random: Random, file: Uint8Array): Uint8Array {
  const { header, data } = parts(file)
  return choose(random, [
    [4, () => assembled(mutatedJson(random, header), data)],
    [3, () => assembled(JSON.stringify(retold(random, header)), data)],
    [2, () => assembled(JSON.stringify(header), mutateBytes(random, data))],
    [2, () => mutateBytes(random, file)],
    [1, () => writeInteger(Uint8Array.from(file), 0, 8, pick(random, oddIntegers))],
  ])
}

function parts(file: Uint8Array): { header: Record<string, unknown>; data: Uint8Array } {
  const start = 8 + Number(Buffer.from(file).readBigUInt64LE(0))
  const header = JSON.parse(Buffer.from(file.subarray(8, start)).toString()) as Record<string, unknown>
  return { header, data: file.subarray(start) }
}

function assembled(header: string, data: Uint8Array): Uint8Array {
  const length = new Uint8Array(8)
  const json = Buffer.from(header)
  return joined(writeInteger(length, 0, 8, BigInt(json.length)), json, data)
}

/** Another description of the same bytes: other shapes and types that take as many, other names, another order. */
function retold(random: Random, header: Record<string, unknown>): Record<string, unknown> {
  const names = Object.keys(header).filter((name) => name !== '__metadata__')
  const name = pick(random, names)
  const entry = structuredClone(header[name]) as Entry
  const changed: Record<string, unknown> = { ...header, [name]: entry }
  const count = entry.shape.reduce((product, size) => product * size, 1)
  const becomes = (part: Partial<Entry>) => void Object.assign(entry, part)
  const others = names.map((other) => (header[other] as Entry).data_offsets)
  choose(random, [
    [2, () => becomes({ shape: [count] })],
    [2, () => becomes({ shape: entry.shape.toReversed() })],
    [1, () => becomes({ shape: [...entry.shape, 1, 1, 1] })],
    [1, () => becomes({ shape: [...entry.shape, 0, 2 ** 52] })],
    [1, () => becomes({ shape: [2 ** 32, 2 ** 32] })],
    [2, () => retype(random, entry, count)],
    [1, () => becomes({ data_offsets: pick(random, others) })],
    [1, () => rename(changed, name, `${name}.more`, { keep: true })],
    [2, () => rename(changed, name, pick(random, [`${name}x`, pick(random, names), '__proto__', name.slice(1)]))],
  ])
  return changed
}

/** As many bytes, of elements of another size. */
function retype(random: Random, entry: Entry, count: number): void {
  const [begin, end] = entry.data_offsets
  const [dtype, bytes] = pick(random, [
    ['F16', 2],
    ['BF16', 2],
    ['F64', 8],
    ['I32', 4],
    ['U8', 1],
    ['F8_E4M3', 1],
    ['F4', 0.5],
  ] as const)
  entry.dtype = dtype
  entry.shape = chance(random, 0.5) ? [(end - begin) / bytes] : [count, (end - begin) / bytes / count]
}

function rename(header: Record<string, unknown>, from: string, to: string, { keep = false } = {}): void {
  const entry = header[from]
  if (!keep) delete header[from]
  Object.defineProperty(header, to, { value: entry, enumerable: true, configurable: true, writable: true })
}

/** A whole file as two and the index that lists them. */
export function shards(file: Uint8Array): Map<string, string | Uint8Array> {
  const { header, data } = parts(file)
  const tensors = Object.keys(header).filter((name) => name !== '__metadata__')
  const names = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
  const files = new Map<string, string | Uint8Array>()
  const weightMap: Record<string, string> = {}
  for (const [i, name] of names.entries()) {
    const own = tensors.filter((_, at) => at % 2 === i)
    for (const tensor of own) weightMap[tensor] = name
    files.set(name, shard(own, header as Record<string, Entry>, data))
  }
  const index = { metadata: { total_size: data.length }, weight_map: weightMap }
  return files.set('model.safetensors.index.json', JSON.stringify(index))
}

function shard(names: readonly string[], header: Record<string, Entry>, data: Uint8Array): Uint8Array {
  let end = 0
  const pieces: Uint8Array[] = []
  const entries = names.map((name) => {
    const [from, to] = header[name]!.data_offsets
    pieces.push(data.subarray(from, to))
    end += to - from
    return [name, { ...header[name]!, data_offsets: [end - (to - from), end] }]
  })
  return assembled(JSON.stringify(Object.fromEntries(entries)), joined(...pieces))
}
