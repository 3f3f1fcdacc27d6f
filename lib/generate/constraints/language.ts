/** Regular languages of bytes. */

/** Thrown for a part of a constraint that no grammar expresses; the message names it. */
export class Inexpressible extends Error {}

/** Thrown for a part of a constraint that nothing fits; the message names it. */
export class Impossible extends Inexpressible {}

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
  | Combination
  /** Texts that a deterministic automaton accepts from its first state on. */
  | Machine

/** Texts that are in all of some languages, and in none of others. */
export interface Combination {
  readonly all: readonly [Language, ...Language[]]
  readonly none?: readonly Language[]
}

/** A deterministic automaton. */
export interface Machine {
  readonly states: readonly MachineState[]
}

export interface MachineState {
  /** Ranges of bytes that do not overlap, each with the index of the state to which they lead. */
  readonly edges: readonly (readonly [Range, number])[]
  /** Whether a text may end here. */
  readonly isEnd: boolean
}

/** All characters; a lone surrogate is none. */
export const ALL_CODES: readonly Range[] = [
  [0, 0xd7ff],
  [0xe000, 0x10ffff],
]

/** Returns the language of one of these texts. */
export const textsLanguage = (texts: readonly string[]): Language => ({ any: texts.map(textLanguage) })

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

/** Returns the language of any number of texts of another one. */
export const anyNumber = (part: Language): Language => ({ part, least: 0, most: Number.POSITIVE_INFINITY })

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
