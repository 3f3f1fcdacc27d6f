/** The labels of rows: names and their numbers. */
import { quoted } from '../common/errors.js'
import { shortened } from '../common/printable.js'
import { malformedRow } from './check.js'

/** Maximum number of characters of label names in a message. */
const MOST_NAMED = 200

export class LabelNames {
  readonly #numbers: Map<string, number>
  readonly #areGiven: boolean

  /** @param given names by number; without them, the names in the rows are collected */
  constructor(given?: readonly string[]) {
    this.#areGiven = given !== undefined
    this.#numbers = new Map(given?.map((name, i) => [name, i]))
  }

  /** Names by number. */
  get names(): string[] {
    return [...this.#numbers.keys()]
  }

  /**
   * Returns the number of a row's label, which is a name, or a number if the names were given.
   * @throws InputError `malformed-row` for a value that is no label or not among the given ones
   */
  numberOf(value: unknown, column: string, where: string): number {
    const isLabel = typeof value === 'boolean' || Number.isInteger(value) || (typeof value === 'string' && value !== '')
    if (!isLabel) {
      throw malformedRow(
        where,
        `${column}: expected a label, a text or a whole number, but received ${quoted(value ?? null)}`,
      )
    }
    const name = String(value)
    const known = this.#numbers.get(name)
    if (known !== undefined) return known
    const { size } = this.#numbers
    if (this.#areGiven) {
      if (/^\d+$/.test(name) && Number(name) < size) return Number(name)
      const expected = shortened(this.names.join(', '), MOST_NAMED)
      throw malformedRow(where, `${column}: expected one of the labels ${expected} but received ${quoted(value)}`)
    }
    this.#numbers.set(name, size)
    return size
  }

  /** Sorts collected names, whole numbers by value and others by code units; changes `numbers` accordingly. */
  sort(numbers: Float32Array): void {
    if (this.#areGiven) return
    const before = this.names
    const areNumbers = before.every((name) => /^-?\d+$/.test(name))
    const sorted = areNumbers ? before.toSorted((a, b) => Number(a) - Number(b)) : before.toSorted()
    for (const [i, name] of sorted.entries()) this.#numbers.delete(name) && this.#numbers.set(name, i)
    const places = before.map((name) => this.#numbers.get(name)!)
    for (const [row, number] of numbers.entries()) numbers[row] = places[number]!
  }
}
