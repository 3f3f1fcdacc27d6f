import { type InputError, UsageError } from '../common/errors.js'
import type { GgufFile, GgufValue } from './gguf-types.js'
import { malformed } from './open.js'

/** Reads a GGUF file's metadata by type. Records which keys were read, so that unread ones can be refused. */
export class MetadataReader {
  readonly #file: GgufFile

  readonly #asked = new Set<string>()

  constructor(file: GgufFile) {
    this.#file = file
  }

  text(key: string, fallback?: string): string {
    const value = this.#get(key) ?? fallback
    if (typeof value !== 'string') throw this.#wrong(key, 'a string', value)
    return value
  }

  /** Returns a finite number; a float32 value as the shortest decimal that rounds to it. */
  number(key: string, fallback?: number): number {
    const value = this.#get(key) ?? fallback
    if (typeof value !== 'number' || !Number.isFinite(value)) throw this.#wrong(key, 'a number', value)
    return shortestDecimal(value)
  }

  /** Returns a whole number of at least 1. */
  count(key: string, fallback?: number): number {
    return this.#checkCount(key, this.#get(key) ?? fallback)
  }

  /** Returns a whole number of at least 1, which may be listed for each layer if all are the same. */
  countOfLayers(key: string, fallback?: number): number {
    const value = this.#get(key)
    if (!Array.isArray(value)) return this.#checkCount(key, value ?? fallback)
    if (value.some((other) => other !== value[0])) throw this.unsupported(`${key} that differs between layers`)
    return this.#checkCount(key, value[0])
  }

  flag(key: string): boolean {
    const value = this.#get(key)
    if (typeof value !== 'boolean') throw this.#wrong(key, 'true or false', value)
    return value
  }

  /** Returns one flag for each layer, or null. */
  flagsOfLayers(key: string): readonly boolean[] | null {
    const value = this.#get(key)
    if (value === undefined) return null
    if (Array.isArray(value) && value.every((flag) => typeof flag === 'boolean')) return value
    throw this.#wrong(key, 'a list of flags', value)
  }

  /** Returns a list of `length` whole numbers, 0 included, also where all are one. */
  counts(key: string, length: number): readonly number[] {
    const value = this.#get(key)
    const counts = Array.isArray(value) ? value : Array.from({ length }, () => value)
    const isCount = (count: unknown): count is number => Number.isInteger(count) && (count as number) >= 0
    if (counts.length === length && counts.every(isCount)) return counts
    throw this.#wrong(key, `one whole number or ${length}`, value)
  }

  optionalNumber(key: string): number | null {
    return this.#get(key) === undefined ? null : this.number(key)
  }

  /** Throws if `key` is present with another value than the only supported one. */
  refuseUnless(key: string, supported: GgufValue): void {
    const value = this.#get(key)
    if (value !== undefined && value !== supported) throw this.unsupported(`${key} ${value} (only ${supported} is)`)
  }

  /** Throws if a key under `prefix` was not read and is not in `ignored`. */
  refuseOverlooked(prefix: string, ignored: readonly string[]): void {
    for (const key of this.#file.metadata.keys()) {
      if (key.startsWith(prefix) && !this.#asked.has(key) && !ignored.includes(key)) throw this.unsupported(key)
    }
  }

  unsupported(what: string): UsageError {
    return new UsageError('unsupported-option', `${this.#file.path} has ${what}, which is not supported.`)
  }

  #get(key: string): GgufValue | undefined {
    this.#asked.add(key)
    return this.#file.metadata.get(key)
  }

  #checkCount(key: string, value: GgufValue | undefined): number {
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 1) {
      throw this.#wrong(key, 'a whole number from 1 on', value)
    }
    return value
  }

  #wrong(key: string, expected: string, value: GgufValue | undefined): InputError {
    if (value === undefined) return malformed(this.#file.path, `it lacks the metadata ${key}`)
    return malformed(
      this.#file.path,
      `its metadata ${key} is ${String(value).slice(0, 50)}, but ${expected} was expected`,
    )
  }
}

/** Returns the shortest decimal of a float32, such as 1e-5 for 9.999999747378752e-6. */
function shortestDecimal(value: number): number {
  if (Number.isInteger(value) || Math.fround(value) !== value) return value
  for (let digits = 1; digits < 9; digits++) {
    const rounded = Number(value.toPrecision(digits))
    if (Math.fround(rounded) === value) return rounded
  }
  return value
}
