/**
 * Finds where JSON is invalid, for the line and column of errors: many messages of JSON.parse have no position. Also finds
 * duplicate keys, which JSON.parse accepts: a tensor's name or location would depend on the program that reads the file
 * (test/io/safetensors.test.ts).
 */
import { quoted } from '../common/errors.js'

class JsonProblem extends Error {
  constructor(
    /** Index into the text. */
    readonly position: number,
    /** Completes the sentence "at line 1, column 2 …". */
    readonly problem: string,
  ) {
    super(problem)
  }
}

/** Deepest nesting that is accepted: far more than files of this package's formats have. */
const MAX_DEPTH = 512

/** Returns the first problem of a text, or null if it is valid JSON without duplicate keys. */
export function findJsonProblem(text: string): JsonProblem | null {
  try {
    new Scanner(text).scan()
    return null
  } catch (error) {
    if (error instanceof JsonProblem) return error
    throw error
  }
}

/**
 * Whether values are nested too deeply for recursive code. For text that JSON.parse, which has no such limit, has accepted.
 */
export const nestsTooDeep = (text: string): boolean => excessOf(text) === 'depth'

/**
 * Returns what a text has too much of before it is parsed: depth of values, or lists, objects and keys, which parsing makes objects of;
 * null if neither.
 */
export function excessOf(text: string, most = Number.POSITIVE_INFINITY): 'depth' | 'count' | null {
  let [depth, count] = [0, 0]
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === QUOTE) i = endOfString(text, i)
    else if (code === CLOSE_LIST || code === CLOSE_OBJECT) depth--
    else if (code === OPEN_LIST || code === OPEN_OBJECT || code === COLON) {
      if (code !== COLON && ++depth > MAX_DEPTH) return 'depth'
      if (++count > most) return 'count'
    }
  }
  return null
}

const [QUOTE, BACKSLASH, COLON] = [0x22, 0x5c, 0x3a]
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d]

function endOfString(text: string, start: number): number {
  let i = start + 1
  while (i < text.length && text.charCodeAt(i) !== QUOTE) i += text.charCodeAt(i) === BACKSLASH ? 2 : 1
  return i
}

/** Returns the line and column of a position, counted from 1 as in editors. */
export function lineAndColumn(text: string, position: number): { line: number; column: number } {
  let line = 1
  let lineStart = 0
  for (let end = text.indexOf('\n'); end !== -1 && end < position; end = text.indexOf('\n', end + 1)) {
    line++
    lineStart = end + 1
  }
  return { line, column: position - lineStart + 1 }
}

const space = /[ \t\n\r]*/y
const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const word = /true|false|null/y
const pythonNumber = /(?=NaN\b|-?Infinity\b)/y
const PYTHON_NUMBER = 'there is a NaN or Infinity, which Python writes and JSON does not have: write null or a text'
const escapeSequence = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y

class Scanner {
  #position = 0
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  scan(): void {
    this.#value(0)
    if (this.#position < this.#text.length) this.#fail('there is text after the end of the value')
  }

  #value(depth: number): void {
    if (depth > MAX_DEPTH) this.#fail(`values are nested more than ${MAX_DEPTH} deep`)
    this.#match(space)
    const first = this.#text[this.#position]
    if (first === '{') this.#object(depth)
    else if (first === '[') this.#array(depth)
    else if (first === '"') this.#string('a string')
    else if (this.#match(pythonNumber) !== null) this.#fail(PYTHON_NUMBER)
    else if (this.#match(number) === null && this.#match(word) === null) this.#failExpected('a value')
    this.#match(space)
  }

  #object(depth: number): void {
    const keys = new Set<string>()
    this.#position++
    this.#match(space)
    if (this.#accept('}')) return
    do {
      this.#match(space)
      const start = this.#position
      const key = JSON.parse(this.#string('a key in double quotes')) as string
      if (keys.has(key)) throw new JsonProblem(start, `the key ${quoted(key)} is given twice`)
      keys.add(key)
      this.#match(space)
      if (!this.#accept(':')) this.#failExpected("':'")
      this.#value(depth + 1)
    } while (this.#accept(','))
    if (!this.#accept('}')) this.#failExpected("',' or '}'")
  }

  #array(depth: number): void {
    this.#position++
    this.#match(space)
    if (this.#accept(']')) return
    do this.#value(depth + 1)
    while (this.#accept(','))
    if (!this.#accept(']')) this.#failExpected("',' or ']'")
  }

  #string(what: string): string {
    if (this.#text[this.#position] !== '"') this.#failExpected(what)
    const start = this.#position++
    for (;;) {
      const code = this.#text.charCodeAt(this.#position)
      if (code === QUOTE) return this.#text.slice(start, ++this.#position)
      if (Number.isNaN(code)) throw new JsonProblem(start, 'a string begins that is not closed')
      if (code < 0x20) this.#fail('a string has a raw control character')
      if (code !== BACKSLASH) this.#position++
      else if (this.#match(escapeSequence) === null) this.#fail('a string has an unknown escape')
    }
  }

  #accept(character: string): boolean {
    if (this.#text[this.#position] !== character) return false
    this.#position++
    return true
  }

  #match(pattern: RegExp): string | null {
    pattern.lastIndex = this.#position
    const found = pattern.exec(this.#text)
    if (!found) return null
    this.#position += found[0].length
    return found[0]
  }

  #failExpected(what: string): never {
    const came = this.#text[this.#position]
    this.#fail(`expected ${what} but ${came === undefined ? 'the text ends' : `received ${JSON.stringify(came)}`}`)
  }

  #fail(problem: string): never {
    throw new JsonProblem(this.#position, problem)
  }
}
