/** JSON without what JSON.parse loses: how numbers are written, integers of any size, and the order of keys. */
import { isJsonObject } from '../../io/json.js'
import { nestsTooDeep } from '../../io/json-scan.js'

/**
 * The value of a text that JSON.parse accepts. Whole numbers that are written with a fraction or an exponent are `Number` objects,
 * integers past 2^53 are bigints, and an object with keys that JavaScript would put first, such as "2", is a `Map`.
 */
export function parseExact(text: string): unknown {
  return new ExactParser(text).value()
}

/** The columns of a row as its JSON has them; undefined of a row without JSON, and of what nests too deep. */
export function exactColumns(json: string | undefined): Record<string, unknown> | undefined {
  const row = json === undefined || nestsTooDeep(json) ? undefined : parseExact(json)
  if (row instanceof Map) return Object.fromEntries(row) as Record<string, unknown>
  return isJsonObject(row) ? row : undefined
}

const TOKEN = /[ \t\n\r]*([[\]{},:]|"(?:[^"\\]|\\.)*"|[^ \t\n\r[\]{},:"]+)/y
const INDEX = /^(?:0|[1-9]\d*)$/

class ExactParser {
  #at = 0

  constructor(private readonly text: string) {}

  value(token = this.#next()): unknown {
    if (token === '{') return this.#object()
    if (token === '[') return this.#list()
    if (token.startsWith('"') || /^[tfn]/.test(token)) return JSON.parse(token)
    return numberOf(token)
  }

  #object(): object {
    const entries = new Map<string, unknown>()
    for (let token = this.#next(); token !== '}'; token = this.#next()) {
      if (token === ',') continue
      this.#next()
      entries.set(JSON.parse(token) as string, this.value())
    }
    return [...entries.keys()].some((key) => INDEX.test(key)) ? entries : Object.fromEntries(entries)
  }

  #list(): unknown[] {
    const items: unknown[] = []
    for (let token = this.#next(); token !== ']'; token = this.#next()) if (token !== ',') items.push(this.value(token))
    return items
  }

  #next(): string {
    TOKEN.lastIndex = this.#at
    const found = TOKEN.exec(this.text)
    if (!found) throw new SyntaxError(`expected JSON at ${this.#at}`)
    this.#at = TOKEN.lastIndex
    return found[1]!
  }
}

function numberOf(token: string): number | bigint | number {
  const value = Number(token)
  if (/[.eE]/.test(token)) return Number.isInteger(value) ? Object(value) : value
  return Number.isSafeInteger(value) ? value : BigInt(token)
}
