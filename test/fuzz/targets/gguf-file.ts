/** Changes of a GGUF file by the fields of its header, so that most of what comes after them is still read. */
import { joined, mutateBytes, oddIntegers, writeInteger } from '../mutate-bytes.js'
import { oddStrings } from '../mutate-json.js'
import { mutateText } from '../mutate-text.js'
import { choose, few, pick, type Random } from '../random.js'

/** A number of the header, or the bytes of a string after its length. */
interface Field {
  kind: 'magic' | 'version' | 'count' | 'length' | 'text' | 'type' | 'rank' | 'size' | 'offset' | 'value'
  at: number
  bytes: number
}

/** A metadata entry or a tensor's description. */
interface Entry {
  of: 'metadata' | 'tensors'
  from: number
  to: number
}

const widths = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8]
const [STRING, ARRAY] = [8, 9]

export function mutateGguf(random: Random, file: Uint8Array): Uint8Array {
  const header = fieldsOf(file)
  return choose(random, [
    [8, () => changedFields(random, file, header.fields)],
    [2, () => changedEntries(random, file, header.entries)],
    [1, () => joined(file.subarray(0, header.end), mutateBytes(random, file.subarray(header.end)))],
    [2, () => mutateBytes(random, file)],
    [1, () => file.slice(0, random.integer(header.end))],
  ])
}

function changedFields(random: Random, file: Uint8Array, fields: readonly Field[]): Uint8Array {
  let bytes = Uint8Array.from(file)
  // From the end, so that earlier positions stay valid.
  const chosen = Array.from({ length: few(random) }, () => pick(random, fields)).sort((a, b) => b.at - a.at)
  for (const field of chosen)
    bytes = field.kind === 'text' ? otherText(random, bytes, field) : otherNumber(random, bytes, field, fields)
  return bytes
}

function otherNumber(
  random: Random,
  bytes: Uint8Array<ArrayBuffer>,
  { at, bytes: width, kind }: Field,
  fields: readonly Field[],
) {
  const same = fields.filter((field) => field.kind === kind)
  const other = pick(random, same)
  const value = integerAt(bytes, at, width)
  return choose(random, [
    [4, () => writeInteger(bytes, at, width, pick(random, oddIntegers))],
    [2, () => writeInteger(bytes, at, width, value + pick(random, [1n, -1n, value, 32n]))],
    [2, () => writeInteger(bytes, at, width, BigInt(random.integer(48)))],
    [2, () => writeInteger(bytes, at, width, integerAt(bytes, other.at, other.bytes))],
  ])
}

/** Replaces a string with its length, so that later fields are still read. */
function otherText(random: Random, bytes: Uint8Array, { at, bytes: length }: Field): Uint8Array<ArrayBuffer> {
  const text = Buffer.from(bytes.subarray(at, at + length)).toString()
  const changed = Buffer.from(
    choose(random, [
      [1, () => mutateText(random, text)],
      [1, () => pick(random, oddStrings)],
    ]),
  )
  const count = writeInteger(new Uint8Array(8), 0, 8, BigInt(changed.length))
  return joined(bytes.subarray(0, at - 8), count, changed, bytes.subarray(at + length))
}

/** Removes or doubles an entry, and adjusts the count. */
function changedEntries(random: Random, file: Uint8Array, entries: readonly Entry[]): Uint8Array {
  const { of, from, to } = pick(random, entries)
  const at = of === 'tensors' ? 8 : 16
  const copies = pick(random, [0, 0, 0, 2])
  const entry = file.subarray(from, to)
  const changed = joined(file.subarray(0, from), ...Array.from({ length: copies }, () => entry), file.subarray(to))
  return writeInteger(changed, at, 8, integerAt(file, at, 8) + BigInt(copies - 1))
}

const integerAt = (bytes: Uint8Array, at: number, width: number): bigint => {
  let value = 0n
  for (let i = Math.min(width, bytes.length - at) - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[at + i]!)
  return value
}

/** The fields of a whole file. Only the first elements of long arrays are fields of their own. */
function fieldsOf(file: Uint8Array): { fields: Field[]; entries: Entry[]; end: number } {
  const fields: Field[] = []
  let at = 0
  const take = (kind: Field['kind'], bytes: number): number => {
    fields.push({ kind, at, bytes })
    const value = Number(integerAt(file, at, Math.min(bytes, 8)))
    at += bytes
    return value
  }
  const text = () => {
    take('text', take('length', 8))
  }
  const value = (type: number): void => {
    if (type === STRING) text()
    else if (type !== ARRAY) take('value', widths[type]!)
    else {
      const [element, count] = [take('type', 4), take('count', 8)]
      const kept = fields.length + 24
      for (let i = 0; i < count; i++) value(element)
      fields.splice(kept)
    }
  }
  const entries: Entry[] = []
  take('magic', 4)
  take('version', 4)
  const [tensors, metadata] = [take('count', 8), take('count', 8)]
  for (let i = 0; i < metadata; i++) {
    const from = at
    text()
    value(take('type', 4))
    entries.push({ of: 'metadata', from, to: at })
  }
  for (let i = 0; i < tensors; i++) {
    const from = at
    text()
    for (let rank = take('rank', 4); rank > 0; rank--) take('size', 8)
    take('type', 4)
    take('offset', 8)
    entries.push({ of: 'tensors', from, to: at })
  }
  return { fields, entries, end: at }
}
