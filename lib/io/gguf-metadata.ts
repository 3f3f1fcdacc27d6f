import { type InputError, UsageError } from '../common/errors.js'
import type { GgufFile, GgufValue } from './gguf-types.js'
import { malformed } from './open.js'

/** Typed reading of a GGUF file's metadata. Remembers what was asked for, so that nothing in the file is overlooked. */
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

  /** A finite number; float32 values as the shortest decimal that is the same float32. */
  number(key: string, fallback?: number): number {
    const value = this.#get(key) ?? fallback
    if (typeof value !== 'number' || !Number.isFinite(value)) throw this.#wrong(key, 'a number', value)
    return shortestDecimal(value)
  }

  /** A whole number from 1 on. */
  count(key: string, fallback?: number): number {
    return this.#checkCount(key, this.#get(key) ?? fallback)
  }

  /** A whole number from 1 on that may be given once for each layer, and must then be the same for all. */
  countOfLayers(key: string, fallback?: number): number {
    const value = this.#get(key)
    if (!Array.isArray(value)) return this.#checkCount(key, value ?? fallback)
    if (value.some((other) => other !== value[0])) throw this.unsupported(`${key} that differs between layers`)
    return this.#checkCount(key, value[0])
  }

  optionalNumber(key: string): number | null {
    return this.#get(key) === undefined ? null : this.number(key)
  }

  /** Refuses a file whose `key`, if given, has another value than the only one that is supported. */
  refuseUnless(key: string, supported: GgufValue): void {
    const value = this.#get(key)
    if (value !== undefined && value !== supported) throw this.unsupported(`${key} ${value} (only ${supported} is)`)
  }

  /** Refuses a file with keys under `prefix` that were not asked for and are not in `ignored`. */
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

/** 1e-5 for the float32 next to it, which is 9.999999747378752e-6 as a float64. */
function shortestDecimal(value: number): number {
  if (Number.isInteger(value) || Math.fround(value) !== value) return value
  for (let digits = 1; digits < 9; digits++) {
    const rounded = Number(value.toPrecision(digits))
    if (Math.fround(rounded) === value) return rounded
  }
  return value
}
