/** Reads TensorBoard's event files by the published formats: TFRecord's framing, and event.proto and summary.proto. */
import { readFileSync } from 'node:fs'

export interface ReadEvent {
  wallTime: number
  step: number
  fileVersion?: string
  scalars?: Record<string, number>
  /** The status in a session log; 1 is START. */
  sessionStatus?: number
}

/** The bit-by-bit definition of CRC-32C, independent of the writer's table. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    for (let bit = 0; bit < 8; bit++) {
      const carry = (crc ^ (byte >>> bit)) & 1
      crc = (crc >>> 1) ^ (carry ? 0x82f63b78 : 0)
    }
  }
  return (crc ^ 0xffffffff) >>> 0
}

function unmasked(masked: number): number {
  const rotated = (masked - 0xa282ead8) >>> 0
  return ((rotated >>> 17) | (rotated << 15)) >>> 0
}

function readRecords(file: Buffer): Buffer[] {
  const records: Buffer[] = []
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at))
    const data = file.subarray(at + 12, at + 12 + length)
    const expected = [file.readUInt32LE(at + 8), file.readUInt32LE(at + 12 + length)].map(unmasked)
    const found = [file.subarray(at, at + 8), data].map(crc32c)
    if (found.join() !== expected.join()) throw new Error(`The record at byte ${at} has another checksum.`)
    records.push(data)
    at += 12 + length + 4
  }
  return records
}

type Field = { field: number; number: number; bytes: Buffer }

function readFields(message: Buffer): Field[] {
  const fields: Field[] = []
  let at = 0
  const varint = () => {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = message[at++]!
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
  }
  const take = (length: number) => {
    at += length
    return message.subarray(at - length, at)
  }
  while (at < message.length) {
    const key = varint()
    const [field, wireType, none] = [key >>> 3, key & 7, Buffer.alloc(0)]
    if (wireType === 0) fields.push({ field, number: varint(), bytes: none })
    else if (wireType === 1) fields.push({ field, number: take(8).readDoubleLE(), bytes: none })
    else if (wireType === 5) fields.push({ field, number: take(4).readFloatLE(), bytes: none })
    else if (wireType === 2) fields.push({ field, number: 0, bytes: take(varint()) })
    else throw new Error(`There is no wire type ${wireType} here.`)
  }
  return fields
}

function readEvent(record: Buffer): ReadEvent {
  const event: ReadEvent = { wallTime: 0, step: 0 }
  for (const { field, number, bytes } of readFields(record)) {
    if (field === 1) event.wallTime = number
    else if (field === 2) event.step = number
    else if (field === 3) event.fileVersion = bytes.toString()
    else if (field === 5) event.scalars = Object.fromEntries(readFields(bytes).map((value) => readScalar(value.bytes)))
    else if (field === 7) event.sessionStatus = readFields(bytes)[0]!.number
    else throw new Error(`An event has no field ${field} here.`)
  }
  return event
}

function readScalar(value: Buffer): [tag: string, value: number] {
  const fields = readFields(value)
  return [fields.find(({ field }) => field === 1)!.bytes.toString(), fields.find(({ field }) => field === 2)!.number]
}

export function readEventFile(path: string): ReadEvent[] {
  return readRecords(readFileSync(path)).map(readEvent)
}
