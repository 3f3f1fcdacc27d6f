/** The rules of a grammar in EBNF, as XGrammar reads it. */
import { AutomatonWork, machineOf } from './automaton.js'
import { Impossible, type Language, type Range } from './language.js'

export class GrammarRules {
  readonly #bodies: string[] = []
  readonly #work = new AutomatonWork()

  /** Adds a rule and returns its name, which its body may contain. */
  add(bodyOf: (name: string) => string): string {
    const at = this.#bodies.push('""') - 1
    const name = `r${at}`
    this.#bodies[at] = bodyOf(name)
    return name
  }

  /**
   * Adds rules for a language, one for each state of a deterministic automaton: the library compiles alternatives that begin alike
   * wrongly, and accepts bytes outside of ASCII only in classes.
   * @returns the name of the first rule
   * @throws Inexpressible for a language that takes too much work; Impossible for one without texts
   */
  addLanguage(language: Language): string {
    const { states } = machineOf(language, this.#work)
    const names = states.map(() => this.add(() => '""'))
    for (const [i, { edges, isEnd }] of states.entries()) {
      const ranges = new Map<number, Range[]>()
      for (const [range, target] of edges) ranges.set(target, [...(ranges.get(target) ?? []), range])
      const parts = [...ranges].map(([target, own]) => `${byteClass(own)} ${names[target]}`)
      this.#bodies[Number(names[i]!.slice(1))] = [...parts, ...(isEnd ? ['""'] : [])].join(' | ')
    }
    return names[0]!
  }

  /** Whether a language has texts. @throws Inexpressible for a language that takes too much work */
  hasTexts(language: Language): boolean {
    try {
      machineOf(language, this.#work)
      return true
    } catch (error) {
      if (error instanceof Impossible) return false
      throw error
    }
  }

  /** Returns the grammar that accepts the texts of `root`. */
  grammar(root: string): string {
    return [`root ::= ${root}`, ...this.#bodies.map((body, i) => `r${i} ::= ${body}`)].join('\n')
  }
}

/** Returns the class of some bytes, each twice, since the library takes a single byte for a character, whose UTF-8 is longer. */
function byteClass(ranges: readonly Range[]): string {
  const members = ranges
    .map((range) => range.map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('-'))
    .join('')
  return `[${members}${members}]`
}
