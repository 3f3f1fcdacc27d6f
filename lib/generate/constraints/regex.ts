/** Reads regular expressions. */
import { ALL_CODES, Inexpressible, type Language, oneOf, type Range, without } from './language.js'

const code = (letter: string): number => letter.codePointAt(0)!
const DIGIT: readonly Range[] = [[0x30, 0x39]]
const WORD: readonly Range[] = [...DIGIT, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]]
const LINE_END: readonly Range[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
]
const SPACE: readonly Range[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
]
const SETS: Readonly<Record<string, readonly Range[]>> = {
  d: DIGIT,
  D: without(ALL_CODES, DIGIT),
  w: WORD,
  W: without(ALL_CODES, WORD),
  s: SPACE,
  S: without(ALL_CODES, SPACE),
}
const CONTROLS: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, f: 12, v: 11, 0: 0 }

/** Maximum length of a group's name. */
const MOST_OF_A_NAME = 128

/** The form of a matched text. */
interface RegexOptions {
  /** Returns the language of one of several characters. */
  readonly one: (codes: readonly Range[]) => Language
  /** The language before and after a match that has no anchor there. */
  readonly around: Language
}

/** The text itself, matched as a whole. */
export const WHOLE_TEXT: RegexOptions = { one: oneOf, around: { row: [] } }

/**
 * Returns the language of the texts that a regular expression matches.
 * @throws Inexpressible for lookaround, references, boundaries and properties of characters
 */
export function regexLanguage(source: string, options: RegexOptions): Language {
  if (!['u', ''].some((flags) => isRegex(source, flags))) {
    throw new Inexpressible(`${source}, which is no regular expression`)
  }
  return new RegexReader(source, options).whole()
}

function isRegex(source: string, flags: string): boolean {
  try {
    new RegExp(source, flags)
    return true
  } catch {
    return false
  }
}

class RegexReader {
  readonly #letters: readonly string[]
  readonly #source: string
  readonly #options: RegexOptions
  #at = 0

  constructor(source: string, options: RegexOptions) {
    this.#source = source
    this.#letters = [...source]
    this.#options = options
  }

  /** Reads the whole expression; each alternative has its own anchors. */
  whole(): Language {
    const any: Language[] = []
    do {
      const before = this.#take('^') ? [] : [this.#options.around]
      const own = this.#sequence()
      const after = this.#take('$') ? [] : [this.#options.around]
      any.push({ row: [...before, ...own, ...after] })
    } while (this.#take('|'))
    if (this.#at < this.#letters.length) this.#refuse('an anchor within the text')
    return { any }
  }

  #take(letter: string): boolean {
    const isNext = this.#letters[this.#at] === letter
    if (isNext) this.#at++
    return isNext
  }

  #refuse(what: string): never {
    throw new Inexpressible(`${what} in the regular expression ${this.#source}`)
  }

  #sequence(): Language[] {
    const parts: Language[] = []
    for (let next = this.#next; next !== undefined && !'|)$'.includes(next); next = this.#next) {
      parts.push(this.#quantified(this.#atom()))
    }
    return parts
  }

  get #next(): string | undefined {
    return this.#letters[this.#at]
  }

  #following(count: number): string {
    return this.#letters.slice(this.#at, this.#at + count).join('')
  }

  #group(): Language {
    const any: Language[] = []
    do any.push({ row: this.#sequence() })
    while (this.#take('|'))
    if (!this.#take(')')) this.#refuse('an anchor within a group')
    return { any }
  }

  #quantified(part: Language): Language {
    const rest = this.#following(20)
    const [all, sign, least, comma, most] = /^(?:([*+?])|\{(\d+)(,?)(\d*)\})\??/.exec(rest) ?? []
    if (all === undefined) return part
    this.#at += all.length
    if (sign) return { part, least: sign === '+' ? 1 : 0, most: sign === '?' ? 1 : Number.POSITIVE_INFINITY }
    const last = comma ? (most ? Number(most) : Number.POSITIVE_INFINITY) : Number(least)
    return { part, least: Number(least), most: last }
  }

  #atom(): Language {
    const letter = this.#letters[this.#at++]!
    if (letter === '^') this.#refuse('an anchor within the text')
    if (letter === '.') return this.#one(without(ALL_CODES, LINE_END))
    if (letter === '[') return this.#one(this.#class())
    if (letter !== '(') return this.#one(letter === '\\' ? this.#escape() : [[code(letter), code(letter)]])
    const [opening] = /^(?:\?:|\?<[A-Za-z_]\w*>|)/.exec(this.#following(MOST_OF_A_NAME))!
    if (opening === '' && this.#letters[this.#at] === '?') this.#refuse('lookaround')
    this.#at += opening.length
    return this.#group()
  }

  #one(codes: readonly Range[]): Language {
    return this.#options.one(codes)
  }

  /** Reads what follows a backslash. */
  #escape(): readonly Range[] {
    const letter = this.#letters[this.#at++]!
    if (SETS[letter]) return SETS[letter]
    if (/[bBckpP1-9]/.test(letter)) this.#refuse(`\\${letter}`)
    if (letter in CONTROLS) return [[CONTROLS[letter]!, CONTROLS[letter]!]]
    const rest = this.#following(12)
    const [all, braced, short] =
      (letter === 'x' && /^()([\da-fA-F]{2})/.exec(rest)) ||
      (letter === 'u' && /^(?:\{([\da-fA-F]+)\}|([\da-fA-F]{4}))/.exec(rest)) ||
      []
    if (all === undefined) return [[code(letter), code(letter)]]
    this.#at += all.length
    const value = Number.parseInt(braced || short!, 16)
    if (value >= 0xd800 && value <= 0xdfff) this.#refuse('half a surrogate pair')
    return [[value, value]]
  }

  /** Reads the members of a class and its end. */
  #class(): readonly Range[] {
    const isNegated = this.#take('^')
    const codes: Range[] = []
    while (!this.#take(']')) {
      const first = this.#member()
      const isRange = this.#letters[this.#at] === '-' && this.#letters[this.#at + 1] !== ']'
      if (!isRange || first.length !== 1) codes.push(...first)
      else {
        this.#at++
        codes.push([first[0]![0], this.#member()[0]![1]])
      }
    }
    return isNegated ? without(ALL_CODES, codes) : codes
  }

  #member(): readonly Range[] {
    const letter = this.#letters[this.#at++]!
    if (letter !== '\\') return [[code(letter), code(letter)]]
    if (this.#take('b')) return [[8, 8]]
    return this.#escape()
  }
}
