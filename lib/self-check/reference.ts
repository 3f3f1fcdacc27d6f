/** Values that checks are compared with: made on Linux x64, where the tests compare the same operations with other implementations. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageFolder } from '../common/package-info.js'

/** The values of a check: of each result, at most `MOST` of its elements. */
export type Values = readonly Float32Array[]

/** For each check, its values: base64 of little-endian float32. */
export type Golden = Readonly<Record<string, readonly string[]>>

/** The file that has the golden values; scripts/self-check.mjs writes it. */
export const GOLDEN_FILE = join(packageFolder, 'assets', 'self-check.json')

/** Elements of a result that are compared one by one. */
const MOST = 60

export function readGolden(): Golden {
  return JSON.parse(readFileSync(GOLDEN_FILE, 'utf8')) as Golden
}

/** Returns elements at equal distances, and the root of the mean square of all, which an error anywhere changes. */
export function sampled(values: Float32Array): Float32Array {
  const count = Math.min(MOST, values.length)
  const sample = Float32Array.from(
    { length: count + 1 },
    (_, i) => values[Math.floor((i * values.length) / count)] ?? 0,
  )
  sample[count] = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length)
  return sample
}

function decoded(text: string): Float32Array {
  const bytes = Buffer.from(text, 'base64')
  return Float32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i))
}

/**
 * Returns the largest difference, as a share of the largest golden value of the same result. Throws if values are not finite or
 * cannot be compared.
 */
export function deviation(values: Values, golden: readonly string[] = []): number {
  const deviations = values.map((got, i) => {
    const wanted = decoded(golden[i] ?? '')
    if (got.length !== wanted.length || golden.length !== values.length)
      throw new Error(`${GOLDEN_FILE} has no values to compare with`)
    if (!got.every(Number.isFinite)) throw new Error('a result is not a finite number')
    const difference = Math.max(...got.map((value, at) => Math.abs(value - wanted[at]!)))
    return difference === 0 ? 0 : difference / Math.max(...wanted.map(Math.abs))
  })
  return Math.max(...deviations)
}
