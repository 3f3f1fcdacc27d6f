/** Rules of the strings of JSON that patterns, formats and lengths allow. */
import { AutomatonWork, machineOf } from './automaton.js'
import { FORMATS, NARROWER } from './formats.js'
import type { GrammarRules } from './grammar-rules.js'
import {
  ALL_CODES,
  anyNumber,
  Impossible,
  Inexpressible,
  type Language,
  type Machine,
  type MachineState,
  oneInJson,
  type Range,
  textLanguage,
  without,
} from './language.js'
import { regexLanguage } from './regex.js'

/** What a text has to be. */
export interface TextLimits {
  readonly patterns: readonly string[]
  readonly formats: readonly string[]
  /** Minimum and maximum number of characters. */
  readonly least: number
  readonly most: number
}

/** Maximum bound of a text's length. */
const MOST_LENGTH = 65_536
/** Maximum bound of the length of a text that also has a pattern or a format. */
const MOST_COUNTED = 2000
/** Characters of a rule that longer texts repeat: compiling takes some milliseconds for each character of a rule. */
const BLOCK = 64

/** A character of a string, or a short escape. */
const CHARACTER: Language = oneInJson(without(ALL_CODES, [[0, 0x1f]]))
const HEX: readonly Range[] = [
  [0x30, 0x39],
  [0x41, 0x46],
  [0x61, 0x66],
]
const inQuotes = (inside: Language): Language => ({ row: [textLanguage('"'), inside, textLanguage('"')] })
/** The language of all strings. */
export const ANY_TEXT = inQuotes(
  anyNumber({ any: [CHARACTER, { row: [textLanguage('\\u'), { part: { bytes: HEX }, least: 4, most: 4 }] }] }),
)
/** A negated class, which the library knows as characters of UTF-8, compiles far faster than a state for each of their bytes. */
const PLAIN = '[^\\"\\\\\\x00-\\x1f]'

/**
 * Adds the rule of the strings within limits.
 * @throws Inexpressible for unknown formats, and limits that take too much work; Impossible if no string is within them
 */
export function addTexts(rules: GrammarRules, limits: TextLimits): string {
  const { least, most, patterns, formats } = limits
  if (least > most) throw new Impossible('minLength above maxLength')
  if (patterns.length + formats.length > 0) return rules.addLanguage(inQuotes(textsWithin(limits, rules)))
  const limit = most === Number.POSITIVE_INFINITY ? least : most
  if (limit === 0 && least === most) return '"\\"\\""'
  if (limit === 0) return rules.addLanguage(ANY_TEXT)
  if (limit > MOST_LENGTH) throw new Inexpressible(`a length above ${MOST_LENGTH}`)
  return rules.add(() => `"\\"" ${plainTexts(rules, least, most)}`)
}

/** Which names there are beside patterns. */
interface NameLimits {
  /** Patterns that no name matches. */
  readonly others: readonly string[]
  /** Names that are left out. */
  readonly listed: readonly string[]
  /** The only names, if they are known. */
  readonly values: readonly string[] | undefined
}

/** Adds the rule of names. @throws as addTexts */
export function addNames(rules: GrammarRules, limits: TextLimits, { others, listed, values }: NameLimits): string {
  const inside = (text: string) => textLanguage(JSON.stringify(text).slice(1, -1))
  const known: Language[] = values ? [{ any: values.map(inside) }] : []
  const none = [...others.map(languageOf), ...listed.map(inside)]
  return rules.addLanguage(inQuotes({ all: [textsWithin(limits, rules), ...known], none }))
}

const languageOf = (source: string): Language => regexLanguage(NARROWER[source] ?? source, { one: oneInJson })

/** Returns the language of the insides of strings within limits, without escapes by code. */
function textsWithin({ patterns, formats, least, most }: TextLimits, rules: GrammarRules): Language {
  // zod names the format of a pattern, also by words of its own.
  const unknown = patterns.length > 0 ? undefined : formats.find((format) => !Object.hasOwn(FORMATS, format))
  if (unknown !== undefined) throw new Inexpressible(`the format ${unknown}`)
  const own = formats.flatMap((format) => (Object.hasOwn(FORMATS, format) ? FORMATS[format]! : []))
  const isCounted = least > 0 || most !== Number.POSITIVE_INFINITY
  const lengths = isCounted ? [charactersWithin(least, most)] : []
  const allOf = (sources: readonly string[]): Language => {
    const [first, ...rest] = [...new Set(sources.map((source) => NARROWER[source] ?? source))].map(languageOf)
    return { all: [first ?? anyNumber(CHARACTER), ...rest, ...lengths] }
  }
  const both = allOf([...patterns, ...own])
  // A format is an annotation where its pattern differs: zod's times have no offset.
  return patterns.length * own.length === 0 || rules.hasTexts(both) ? both : allOf(patterns)
}

/** Returns the automaton of `least` to `most` characters. */
function charactersWithin(least: number, most: number): Machine {
  const count = most === Number.POSITIVE_INFINITY ? least : most
  if (count > MOST_COUNTED) throw new Inexpressible(`a length above ${MOST_COUNTED} beside a pattern or a format`)
  const { states } = machineOf(CHARACTER, new AutomatonWork())
  // The character's end is the beginning of the next one.
  const at = (index: number, state: number): number =>
    states[state]!.isEnd ? at(Math.min(index + 1, count), 0) : index * states.length + state
  return {
    states: Array.from({ length: (count + 1) * states.length }, (_, i): MachineState => {
      const [index, state] = [Math.floor(i / states.length), i % states.length]
      const isLast = index === count && most !== Number.POSITIVE_INFINITY
      const edges = isLast ? [] : states[state]!.edges.map(([range, target]) => [range, at(index, target)] as const)
      return { edges, isEnd: state === 0 && index >= least }
    }),
  }
}

/** Returns an expression of `least` to `most` characters without escapes, and the quotation mark at their end. */
function plainTexts(rules: GrammarRules, least: number, most: number): string {
  const count = (from: number, to: number) => `${PLAIN}{${from},${to}}`
  const end = '"\\""'
  if (most - least <= 2 * BLOCK) return `${count(least, most)} ${end}`
  // The library copies a rule that refers to no other one to each place of its use.
  const [one, close] = [rules.add(() => PLAIN), rules.add(() => end)]
  const block = rules.add(() => `${count(BLOCK - 1, BLOCK - 1)} ${one}`)
  const exactly = [
    ...(least >= BLOCK ? [`${block}{${Math.floor(least / BLOCK)}}`] : []),
    ...(least % BLOCK > 0 ? [count(least % BLOCK, least % BLOCK)] : []),
  ].join(' ')
  if (most === Number.POSITIVE_INFINITY) return `${exactly} ${PLAIN}* ${end}`
  const some = rules.add(() => `${count(0, BLOCK - 1)} ${close}`)
  let rest = rules.add(() => `${count(0, (most - least) % BLOCK)} ${close}`)
  for (let i = 0; i < Math.floor((most - least) / BLOCK); i++) {
    const shorter = rest
    rest = rules.add(() => `${some} | ${block} ${shorter}`)
  }
  return `${exactly} ${rest}`
}
