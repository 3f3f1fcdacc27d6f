/** Regular languages of bytes, and their grammars in EBNF as XGrammar reads it. */

/** Thrown for a part of a constraint that no grammar expresses; the message names it. */
export class Inexpressible extends Error {}

/** Numbers from a first to a last one: code points, or bytes. */
export type Range = readonly [number, number]

/** A set of texts, as UTF-8. */
export type Language =
  /** One byte. */
  | { readonly bytes: readonly Range[] }
  /** Texts of each language, one after another. */
  | { readonly row: readonly Language[] }
  /** Texts of any of the languages. */
  | { readonly any: readonly Language[] }
  /** Texts of `part`, from `least` to `most` of them. */
  | { readonly part: Language; readonly least: number; readonly most: number }

/** All characters; a lone surrogate is none. */
export const ALL_CODES: readonly Range[] = [
  [0, 0xd7ff],
  [0xe000, 0x10ffff],
]

/** Returns the language of one of these texts. @throws Inexpressible */
export function textsLanguage(texts: readonly string[]): Language {
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0)
  if (bytes > MOST_PARTS) throw tooLarge()
  return { any: texts.map(textLanguage) }
}

/** Returns the language of one text. */
export const textLanguage = (text: string): Language => ({
  row: Array.from(Buffer.from(text), (byte) => ({ bytes: [[byte, byte]] })),
})

/** Escapes that JSON has for characters that a string cannot hold as they are. */
const SHORT_ESCAPES = ['"', '\\', '\n', '\r', '\t', '\b', '\f']
/** Control characters, the quote and the backslash. */
const NOT_IN_JSON: readonly Range[] = [
  [0, 0x1f],
  [0x22, 0x22],
  [0x5c, 0x5c],
]

/** Returns the language of one of these characters. */
export const oneOf = (codes: readonly Range[]): Language => ({ any: codes.flatMap(([from, to]) => utf8(from, to)) })

/** Returns the language of one of these characters within a string of JSON, escaped where it has to be. */
export function oneInJson(codes: readonly Range[]): Language {
  const isMeant = (letter: string) => codes.some(([a, b]) => a <= letter.charCodeAt(0) && letter.charCodeAt(0) <= b)
  const escaped = SHORT_ESCAPES.filter(isMeant).map((letter) => textLanguage(JSON.stringify(letter).slice(1, -1)))
  return { any: [oneOf(without(codes, NOT_IN_JSON)), ...escaped] }
}

/** Returns the characters of one set that are not in another. */
export function without(codes: readonly Range[], others: readonly Range[]): Range[] {
  const sorted = [...others].sort(([a], [b]) => a - b)
  return codes.flatMap(([from, to]) => {
    const left: Range[] = []
    let next = from
    for (const [first, last] of sorted) {
      if (first > to) break
      if (first > next) left.push([next, first - 1])
      next = Math.max(next, last + 1)
    }
    return next <= to ? [...left, [next, to] as const] : left
  })
}

/** Code points whose UTF-8 has the same number of bytes. */
const LENGTHS: readonly Range[] = [
  [0, 0x7f],
  [0x80, 0x7ff],
  [0x800, 0xffff],
  [0x10000, 0x10ffff],
]

/** Returns the languages of the UTF-8 of code points, none of them a surrogate. */
function utf8(from: number, to: number): Language[] {
  const parts = LENGTHS.map(([least, most]): Range => [Math.max(from, least), Math.min(to, most)])
  return parts.flatMap(([first, last]) => {
    if (first > last) return []
    const [low, high] = [first, last].map((code) => [...Buffer.from(String.fromCodePoint(code))]) as [
      number[],
      number[],
    ]
    return between(low, high)
  })
}

/** Returns the languages of rows of bytes from one to another of the same length; after the first they are continuations. */
function between(from: readonly number[], to: readonly number[]): Language[] {
  const [[first, ...low], [last, ...high]] = [from as [number, ...number[]], to as [number, ...number[]]]
  const led = (lead: Range, rest: readonly Language[]): Language[] => [{ row: [{ bytes: [lead] }, ...rest] }]
  if (low.length === 0) return led([first, last], [])
  if (first === last) return led([first, first], [{ any: between(low, high) }])
  const [isFromStart, isToEnd] = [low.every((byte) => byte === 0x80), high.every((byte) => byte === 0xbf)]
  const [next, before] = [isFromStart ? first : first + 1, isToEnd ? last : last - 1]
  const all = low.map((): Language => ({ bytes: [[0x80, 0xbf]] }))
  const ends = all.map(() => 0xbf)
  return [
    ...(isFromStart ? [] : led([first, first], [{ any: between(low, ends) }])),
    ...(next <= before ? led([next, before], all) : []),
    ...(isToEnd
      ? []
      : led(
          [last, last],
          [
            {
              any: between(
                ends.map(() => 0x80),
                high,
              ),
            },
          ],
        )),
  ]
}

const MOST_STATES = 1000
const MOST_PARTS = 50_000
/** Maximum number of visited states and ranges for all languages of a grammar: a tenth of a second. */
const MOST_WORK = 2 ** 19

const tooLarge = () => new Inexpressible('the length of a text or the size of a regular expression')

/** Returns the number of states of a language's automaton, at least, and of its edges. */
function partsOf(language: Language): number {
  if ('bytes' in language) return 1 + language.bytes.length
  if ('part' in language) {
    const { part, least, most } = language
    return 1 + partsOf(part) * (most === Number.POSITIVE_INFINITY ? least + 1 : most)
  }
  return ('row' in language ? language.row : language.any).reduce((sum, part) => sum + partsOf(part), 1)
}

/** A nondeterministic automaton. */
class Automaton {
  readonly edges: [Range, number][][] = []
  readonly jumps: number[][] = []

  state(): number {
    this.jumps.push([])
    return this.edges.push([]) - 1
  }

  /** Adds a language that begins at a state, and returns the state where it ends. */
  add(language: Language, start: number): number {
    if ('row' in language) return language.row.reduce((at, part) => this.add(part, at), start)
    const end = this.state()
    if ('bytes' in language) this.edges[start]!.push(...language.bytes.map((range): [Range, number] => [range, end]))
    else if ('any' in language) for (const part of language.any) this.jumps[this.#within(part, start)]!.push(end)
    else {
      const { part, least, most } = language
      let at = start
      for (let i = 0; i < least; i++) at = this.add(part, at)
      if (most === Number.POSITIVE_INFINITY) {
        this.jumps[at]!.push(end)
        this.jumps[this.#within(part, end)]!.push(end)
        return end
      }
      for (let i = least; i < most; i++) {
        this.jumps[at]!.push(end)
        at = this.add(part, at)
      }
      this.jumps[at]!.push(end)
    }
    return end
  }

  #within(part: Language, from: number): number {
    const start = this.state()
    this.jumps[from]!.push(start)
    return this.add(part, start)
  }

  /** Returns the states that can be reached without a byte, in order. */
  closure(states: readonly number[]): number[] {
    const reached = new Set(states)
    for (const state of reached) for (const next of this.jumps[state]!) reached.add(next)
    return [...reached].sort((a, b) => a - b)
  }
}

/** The rules of a grammar in EBNF, as XGrammar reads it. */
export class GrammarRules {
  readonly #bodies: string[] = []
  #work = 0

  /** Adds a rule and returns its name, which its body may contain. */
  add(bodyOf: (name: string) => string): string {
    const at = this.#bodies.push('') - 1
    const name = `r${at}`
    this.#bodies[at] = bodyOf(name)
    return name
  }

  /**
   * Adds rules for a language, one for each state of a deterministic automaton: the library compiles alternatives that begin alike
   * wrongly, and accepts bytes outside of ASCII only in classes.
   * @returns the name of the first rule
   * @throws Inexpressible
   */
  addLanguage(language: Language): string {
    if (partsOf(language) > MOST_PARTS) throw tooLarge()
    const automaton = new Automaton()
    const first = automaton.state()
    const end = automaton.add(language, first)
    this.#count(automaton.edges.length)
    const names = new Map<string, string>()
    const write = (states: readonly number[]): string => {
      const known = names.get(states.join())
      if (known) return known
      if (names.size >= MOST_STATES) throw tooLarge()
      return this.add((name) => {
        names.set(states.join(), name)
        const targets = new Map<string, { next: number[]; ranges: Range[] }>()
        const edges = states.flatMap((state) => automaton.edges[state]!)
        this.#count(edges.length * new Set(edges.map(([[from]]) => from)).size)
        for (const [range, target] of steps(edges)) {
          const next = automaton.closure(target)
          this.#count(next.length)
          const found = targets.get(next.join()) ?? { next, ranges: [] }
          found.ranges.push(range)
          targets.set(next.join(), found)
        }
        const parts = [...targets.values()].map(({ next, ranges }) => `${byteClass(ranges)} ${write(next)}`)
        if (states.includes(end)) parts.push('""')
        if (parts.length === 0) throw new Inexpressible('a set without characters')
        return parts.join(' | ')
      })
    }
    return write(automaton.closure([first]))
  }

  #count(work: number): void {
    this.#work += work
    if (this.#work > MOST_WORK) throw tooLarge()
  }

  /** Returns the grammar that accepts the texts of `root`. */
  grammar(root: string): string {
    return [`root ::= ${root}`, ...this.#bodies.map((body, i) => `r${i} ::= ${body}`)].join('\n')
  }
}

/** Splits ranges so that none overlap, each with all states that it leads to. */
function steps(edges: readonly [Range, number][]): [Range, number[]][] {
  const starts = [...new Set(edges.flatMap(([[from, to]]) => [from, to + 1]))].sort((a, b) => a - b)
  return starts.flatMap((from, i): [Range, number[]][] => {
    const targets = edges.filter(([[first, last]]) => first <= from && from <= last).map(([, target]) => target)
    return targets.length === 0 ? [] : [[[from, starts[i + 1]! - 1], [...new Set(targets)]]]
  })
}

/** Returns the class of some bytes, each twice, since the library takes a single byte for a character, whose UTF-8 is longer. */
function byteClass(ranges: readonly Range[]): string {
  const members = ranges
    .map((range) => range.map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('-'))
    .join('')
  return `[${members}${members}]`
}
