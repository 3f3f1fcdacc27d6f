/** `tensorboard/events.out.tfevents.…`: scalars of a run in TensorBoard's format. */
import { readdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { appendBytes, makeFolder, writeFileAtomic } from '../../io/atomic.js'
import { tfRecord } from '../../io/tfrecord.js'

/** An event file of a run since it started or resumed. */
export class TensorboardFile {
  private constructor(readonly path: string) {}

  /**
   * Begins a file in a folder, which is created if absent, for a run that has taken `steps` steps. Files of the run before it
   * stay, and TensorBoard is told to discard their values of later steps.
   */
  static async begin(folder: string, steps: number): Promise<TensorboardFile> {
    await makeFolder(folder)
    const earlier = await secondsOfFiles(folder)
    const first = eventRecord({ step: 0, fileVersion: 'brain.Event:2' })
    const start = earlier.length > 0 ? [eventRecord({ step: steps + 1, sessionStart: true })] : []
    const file = new TensorboardFile(join(folder, nextName(earlier)))
    await writeFileAtomic(file.path, Buffer.concat([first, ...start]))
    return file
  }

  /** Appends the numbers of a step, by name. */
  append(step: number, numbers: Readonly<Record<string, number>>): Promise<void> {
    return appendBytes(this.path, eventRecord({ step, scalars: Object.entries(numbers) }))
  }
}

async function secondsOfFiles(folder: string): Promise<number[]> {
  const names = (await readdir(folder)).map((name) => /^events\.out\.tfevents\.(\d+)\./.exec(name)?.[1])
  return names.filter((seconds) => seconds !== undefined).map(Number)
}

/** TensorBoard reads files in the order of their names, which begin with a time in seconds: later files get later names. */
function nextName(earlier: readonly number[]): string {
  const now = Math.max(Math.floor(Date.now() / 1000), ...earlier.map((seconds) => seconds + 1))
  const host = hostname().replace(/[^\w.-]/g, '-')
  return `events.out.tfevents.${String(now).padStart(10, '0')}.${host}.${process.pid}`
}

type Scalar = readonly [tag: string, value: number]

interface Event {
  step: number
  fileVersion?: string
  sessionStart?: boolean
  scalars?: readonly Scalar[]
}

/** Returns a record with an `Event` of TensorFlow's event.proto, at the present time. */
function eventRecord({ step, fileVersion, sessionStart, scalars }: Event): Uint8Array {
  const fields = [double(1, Date.now() / 1000), varint(2, step)]
  if (fileVersion !== undefined) fields.push(bytes(3, Buffer.from(fileVersion)))
  if (scalars !== undefined) {
    const values = scalars.map(([tag, value]) => bytes(1, Buffer.concat([bytes(1, Buffer.from(tag)), float(2, value)])))
    fields.push(bytes(5, Buffer.concat(values)))
  }
  if (sessionStart) fields.push(bytes(7, varint(1, 1)))
  return tfRecord(Buffer.concat(fields))
}

// Protocol buffer fields: a key of field number and wire type, then the value.

function varint(field: number, value: number): Buffer {
  return Buffer.from([field << 3, ...varintBytes(value)])
}

function double(field: number, value: number): Buffer {
  const buffer = Buffer.alloc(9, (field << 3) | 1)
  buffer.writeDoubleLE(value, 1)
  return buffer
}

function float(field: number, value: number): Buffer {
  const buffer = Buffer.alloc(5, (field << 3) | 5)
  buffer.writeFloatLE(value, 1)
  return buffer
}

function bytes(field: number, content: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([(field << 3) | 2, ...varintBytes(content.length)]), content])
}

/** Encodes a whole number of at least 0, seven bits a byte, the lowest first. */
function varintBytes(value: number): number[] {
  const digits: number[] = []
  let rest = value
  for (; rest >= 128; rest = Math.floor(rest / 128)) digits.push((rest % 128) | 128)
  return [...digits, rest]
}
