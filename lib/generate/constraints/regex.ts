/** Reads regular expressions. */
import { ALL_CODES, anyNumber, Inexpressible, type Language, oneOf, type Range, without } from './language.js'

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
  /** Whether the expression matches the text as a whole, though it has no anchors. */
  readonly isWhole?: boolean
}

/** The text itself, matched as a whole. */
export const WHOLE_TEXT: RegexOptions = { one: oneOf, isWhole: true }

/** A part of an expression. */
type Part =
  | Language
  | { readonly anchor: '^' | '$' }
  /** What has to come next, or must not. */
  | { readonly ahead: readonly (readonly Part[])[]; readonly isNegative: boolean }
  /** A group with one of the others in it, which may be optional. */
  | { readonly group: readonly (readonly Part[])[]; readonly isOptional: boolean }

/** Maximum number of places that are followed to the end of an expression. */
const MOST_FOLLOWED = 256

/**
 * Returns the language of the texts that a regular expression matches.
 * @throws Inexpressible for lookbehind, references and boundaries, and for lookahead and anchors within what is repeated
 */
export function regexLanguage(source: string, options: RegexOptions): Language {
  const isUnicode = isRegex(source, 'u')
  if (!isUnicode && !isRegex(source, '')) throw new Inexpressible(`${source}, which is no regular expression`)
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
  readonly #one: (codes: readonly Range[]) => Language
  /** What may be before and after a match without an anchor. */
  readonly #around: Language
  readonly #anything: Language
  #at = 0
  #followed = 0

  constructor(source: string, { one, isWhole = false }: RegexOptions) {
    this.#source = source
    this.#letters = [...source]
    this.#one = one
    this.#anything = anyNumber(one(ALL_CODES))
    this.#around = isWhole ? { row: [] } : this.#anything
  }

  whole(): Language {
    const alternatives = this.#alternatives()
    if (this.#at < this.#letters.length) this.#refuse('a parenthesis')
    return { any: alternatives.map((parts) => this.#from(parts, this.#around, this.#around)) }
  }

  /** Returns the language of texts with parts at their beginning, or after `before`, and then the rest. */
  #from(parts: readonly Part[], before: Language, rest: Language): Language {
    const [first, ...others] = parts
    if (first && 'anchor' in first && first.anchor === '^') return this.#follow(others, rest)
    if (!first || !('group' in first)) return { row: [before, this.#follow(parts, rest)] }
    this.#count()
    const skipped = first.isOptional ? [others] : []
    const entered = first.group.map((group) => [...group, ...others])
    return { any: [...entered, ...skipped].map((one) => this.#from(one, before, rest)) }
  }

  /** Returns the language of texts with parts and then the rest. */
  #follow(parts: readonly Part[], rest: Language): Language {
    const special = parts.findLastIndex((part) => !isLanguage(part))
    const after: Language = { row: [...parts.slice(special + 1).filter(isLanguage), rest] }
    return special < 0 ? after : this.#follow(parts.slice(0, special), this.#special(parts[special]!, after))
  }

  /** Returns the language of texts with a part that is no language of its own, and then others. */
  #special(part: Part, after: Language): Language {
    if ('group' in part) {
      this.#count()
      const entered = part.group.map((group) => this.#follow(group, after))
      return { any: [...entered, ...(part.isOptional ? [after] : [])] }
    }
    if ('ahead' in part) {
      const next: Language = { any: part.ahead.map((ahead) => this.#follow(ahead, this.#anything)) }
      return part.isNegative ? { all: [after], none: [next] } : { all: [after, next] }
    }
    const isEnd = 'anchor' in part && part.anchor === '$'
    return isEnd ? { all: [after, { row: [] }] } : this.#refuse('an anchor within the text')
  }

  #count(): void {
    this.#followed++
    if (this.#followed > MOST_FOLLOWED) this.#refuse('so many anchors or lookaheads in groups')
  }

  #take(letter: string): boolean {
    const isNext = this.#letters[this.#at] === letter
    if (isNext) this.#at++
    return isNext
  }

  #refuse(what: string): never {
    throw new Inexpressible(`${what} in the regular expression ${this.#source}`)
  }

  #alternatives(): Part[][] {
    const alternatives: Part[][] = []
    do alternatives.push(this.#sequence())
    while (this.#take('|'))
    return alternatives
  }

  #sequence(): Part[] {
    const parts: Part[] = []
    for (let next = this.#next; next !== undefined && !'|)'.includes(next); next = this.#next) {
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

  /** Reads a group behind its opening. */
  #group(): readonly (readonly Part[])[] {
    const alternatives = this.#alternatives()
    this.#at++
    return alternatives
  }

  #quantified(part: Part): Part {
    const rest = this.#following(20)
    const [all, sign, least, comma, most] = /^(?:([*+?])|\{(\d+)(,?)(\d*)\})\??/.exec(rest) ?? []
    if (all === undefined) return part
    this.#at += all.length
    if ('group' in part && sign === '?') return { ...part, isOptional: true }
    if (!isLanguage(part)) return this.#refuse('an anchor or a lookahead that is repeated')
    if (sign) return { part, least: sign === '+' ? 1 : 0, most: sign === '?' ? 1 : Number.POSITIVE_INFINITY }
    const last = comma ? (most ? Number(most) : Number.POSITIVE_INFINITY) : Number(least)
    return { part, least: Number(least), most: last }
  }

  #atom(): Part {
    const letter = this.#letters[this.#at++]!
    if (letter === '^' || letter === '$') return { anchor: letter }
    if (letter === '.') return this.#one(without(ALL_CODES, LINE_END))
    if (letter === '[') return this.#one(this.#class())
    if (letter !== '(') return this.#one(letter === '\\' ? this.#escape() : [[code(letter), code(letter)]])
    const [opening] = /^(?:\?[:=!]|\?<[A-Za-z_]\w*>|)/.exec(this.#following(MOST_OF_A_NAME))!
    if (opening === '' && this.#next === '?') this.#refuse('lookbehind or another special group')
    this.#at += opening.length
    const group = this.#group()
    if (opening === '?=' || opening === '?!') return { ahead: group, isNegative: opening === '?!' }
    const languages = group.map((parts) => parts.filter(isLanguage))
    const isPlain = languages.every((parts, i) => parts.length === group[i]!.length)
    return isPlain ? { any: languages.map((row): Language => ({ row })) } : { group, isOptional: false }
  }

  /** Reads what follows a backslash. */
  #escape(): readonly Range[] {
    const letter = this.#letters[this.#at++]!
    if (SETS[letter]) return SETS[letter]
    if (/[bBck1-9]/.test(letter)) this.#refuse(`\\${letter}`)
    if (/[pP]/.test(letter)) return this.#property(letter)
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

  /** Reads a property of characters behind its letter. */
  #property(letter: string): readonly Range[] {
    const [name] = /^\{\w+(?:=\w+)?\}/.exec(this.#following(MOST_OF_A_NAME)) ?? []
    if (name === undefined || !isRegex(`\\p${name}`, 'u')) return this.#refuse(`\\${letter}`)
    this.#at += name.length
    const codes = codesOf(name)
    return letter === 'p' ? codes : without(ALL_CODES, codes)
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

const isLanguage = (part: Part): part is Language => !('anchor' in part || 'ahead' in part || 'group' in part)

const properties = new Map<string, readonly Range[]>()

/** Returns the characters with a property. */
function codesOf(name: string): readonly Range[] {
  const known = properties.get(name)
  if (known) return known
  const property = new RegExp(`\\p${name}`, 'u')
  const codes: [number, number][] = []
  for (const [from, to] of ALL_CODES) {
    for (let at = from; at <= to; at++) {
      if (!property.test(String.fromCodePoint(at))) continue
      const last = codes.at(-1)
      if (last && last[1] + 1 === at) last[1] = at
      else codes.push([at, at])
    }
  }
  properties.set(name, codes)
  return codes
}
