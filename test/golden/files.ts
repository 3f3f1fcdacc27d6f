/** Golden data: results of the reference implementation in float64. Large files are in MORA_TEST_ASSETS only. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe } from 'vitest'
import type { SafetensorsEntry } from '../../lib/io/safetensors.js'
import { bfloat16BitsToFloat32 } from '../../lib/tensor/half.js'
import { assetPath, lacksAsset } from '../assets.js'
import { type Lack, needing } from '../needs.js'

const own = dirname(fileURLToPath(import.meta.url))

/**
 * Returns the path of a file or folder of the golden data; throws if it is missing, so tests of large ones ask `lacksGolden`
 * first.
 */
export function goldenPath(name: string): string {
  const path = join(own, name)
  return existsSync(path) ? path : assetPath(join('golden', name))
}

export const lacksGolden = (name: string): Lack =>
  existsSync(join(own, name)) ? null : lacksAsset(join('golden', name), 'golden data')

/** Calls `body` for each of these parts of a folder of the golden data. A missing one has one test, which is skipped. */
export function describeGolden(
  folder: string,
  parts: readonly string[],
  body: (part: string, path: string) => void,
): void {
  for (const part of parts) {
    const lacking = lacksGolden(join(folder, part))
    if (lacking === null) describe(part, () => body(part, goldenPath(join(folder, part))))
    else needing(lacking).test(part, () => {})
  }
}

export const goldenJson = <T>(name: string): T => JSON.parse(readFileSync(goldenPath(name), 'utf8')) as T

/** Returns all of a file where it is at hand, or the part of it that is committed. */
export function wholeGolden<T>(name: string): T {
  const whole = join('golden', name)
  if (lacksAsset(whole, 'golden data') !== null) return goldenJson<T>(name)
  return JSON.parse(readFileSync(assetPath(whole), 'utf8')) as T
}

export function goldenLines<T>(name: string): T[] {
  const lines = readFileSync(goldenPath(name), 'utf8').trim().split('\n')
  return lines.map((line) => JSON.parse(line) as T)
}

export interface GoldenTensor {
  readonly shape: readonly number[]
  readonly values: Float32Array
  readonly bytes: Uint8Array
}

/** Every tensor of a safetensors file, floats as float32. Read without the library's reader, which is under test too. */
export function readTensors(path: string): Map<string, GoldenTensor> {
  const file = readFileSync(path)
  const start = 8 + Number(file.readBigUInt64LE(0))
  type Entry = { dtype: string; shape: number[]; data_offsets: [number, number] }
  const header = JSON.parse(file.toString('utf8', 8, start)) as Record<string, Entry>
  const tensors = new Map<string, GoldenTensor>()
  for (const [name, { dtype, shape, data_offsets: range }] of Object.entries(header)) {
    if (name === '__metadata__') continue
    const bytes = Uint8Array.from(file.subarray(start + range[0], start + range[1]))
    tensors.set(name, { shape, bytes, values: floatsOf(bytes, dtype) })
  }
  return tensors
}

/** Float32 tensors to write. */
export function entriesOf(tensors: ReadonlyMap<string, GoldenTensor>): SafetensorsEntry[] {
  return [...tensors].map(([name, { shape, bytes }]) => ({ name, shape, dtype: 'float32', data: async () => bytes }))
}

function floatsOf(bytes: Uint8Array, dtype: string): Float32Array {
  if (dtype === 'F32') return new Float32Array(bytes.buffer)
  if (dtype === 'F64') return Float32Array.from(new Float64Array(bytes.buffer))
  if (dtype === 'I32') return Float32Array.from(new Int32Array(bytes.buffer))
  if (dtype === 'BF16') return Float32Array.from(new Uint16Array(bytes.buffer), bfloat16BitsToFloat32)
  return new Float32Array(0)
}

/** Returns the largest absolute difference; the lengths must agree. */
export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new RangeError(`${a.length} and ${b.length} values cannot be compared`)
  let largest = 0
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!)
    if (!(difference <= largest)) largest = difference
  }
  return largest
}

export const largestOf = (values: ArrayLike<number>): number =>
  largestDifference(values, new Float64Array(values.length))
