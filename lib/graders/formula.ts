/** Formulas over the scores of graders: numbers, names, + - * / ^, parentheses, and some functions. */
import { quoted, UsageError } from '../common/errors.js'

/** Maximum number of characters, and of parentheses, signs and powers within each other. */
const MOST_CHARACTERS = 1024
const MOST_DEPTH = 64

interface FormulaFunction {
  /** Whether it takes one number, or one and more. */
  readonly takesMany: boolean
  of(numbers: readonly number[]): number
}

const one = (of: (number: number) => number): FormulaFunction => ({ takesMany: false, of: ([number]) => of(number!) })
const many = (of: (...numbers: number[]) => number): FormulaFunction => ({
  takesMany: true,
  of: (numbers) => of(...numbers),
})

const FUNCTIONS: ReadonlyMap<string, FormulaFunction> = new Map([
  ['min', many(Math.min)],
  ['max', many(Math.max)],
  ['abs', one(Math.abs)],
  ['floor', one(Math.floor)],
  ['ceil', one(Math.ceil)],
  ['exp', one(Math.exp)],
  ['sqrt', one(Math.sqrt)],
  ['log', one(Math.log)],
])

/** Whether a name can stand for a score in a formula. */
export const isFormulaName = (name: string): boolean => /^[A-Za-z_]\w{0,63}$/.test(name) && !FUNCTIONS.has(name)

type Scores = Readonly<Record<string, number>>
type Formula = (scores: Scores) => number

/**
 * Returns the function that a formula stands for. `^` binds to the right and more tightly than a sign: -2 ^ 2 is -4.
 * @param names what may stand for a score
 * @throws UsageError `bad-value` with the place
 */
export function parseFormula(text: string, names: readonly string[]): Formula {
  if (text.length > MOST_CHARACTERS) throw wrongFormula(`it has more than ${MOST_CHARACTERS} characters`)
  const parser = new FormulaParser(text, names)
  return parser.whole()
}

const wrongFormula = (problem: string) => new UsageError('bad-value', `The formula cannot be read: ${problem}.`)

class FormulaParser {
  readonly #tokens: readonly { readonly text: string; readonly at: number }[]
  #next = 0
  #depth = 0

  constructor(
    readonly text: string,
    readonly names: readonly string[],
  ) {
    const token = /\s*(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|[A-Za-z_]\w*|\S)/gy
    this.#tokens = [...text.matchAll(token)].map((match) => ({
      text: match[1]!,
      at: match.index + match[0].length - match[1]!.length,
    }))
  }

  whole(): Formula {
    const formula = this.#sum()
    if (this.#token !== undefined) throw this.#unexpected('an operator')
    return formula
  }

  get #token(): string | undefined {
    return this.#tokens[this.#next]?.text
  }

  #take(...wanted: readonly string[]): string | undefined {
    const token = this.#token
    if (token === undefined || !wanted.includes(token)) return undefined
    this.#next++
    return token
  }

  #unexpected(expected: string): UsageError {
    const token = this.#tokens[this.#next]
    const came = token ? `${quoted(token.text)} came at character ${token.at + 1}` : 'it ends'
    return wrongFormula(`${expected} was expected, but ${came}`)
  }

  #sum(): Formula {
    let left = this.#product()
    for (let sign = this.#take('+', '-'); sign; sign = this.#take('+', '-')) {
      const [before, after] = [left, this.#product()]
      left = sign === '+' ? (scores) => before(scores) + after(scores) : (scores) => before(scores) - after(scores)
    }
    return left
  }

  #product(): Formula {
    let left = this.#signed()
    for (let sign = this.#take('*', '/'); sign; sign = this.#take('*', '/')) {
      const [before, after] = [left, this.#signed()]
      left = sign === '*' ? (scores) => before(scores) * after(scores) : (scores) => before(scores) / after(scores)
    }
    return left
  }

  #signed(): Formula {
    if (++this.#depth > MOST_DEPTH) throw wrongFormula(`more than ${MOST_DEPTH} levels are within each other`)
    try {
      const sign = this.#take('+', '-')
      if (!sign) return this.#power()
      const inner = this.#signed()
      return sign === '+' ? inner : (scores) => -inner(scores)
    } finally {
      this.#depth--
    }
  }

  #power(): Formula {
    const base = this.#atom()
    if (!this.#take('^')) return base
    const exponent = this.#signed()
    return (scores) => base(scores) ** exponent(scores)
  }

  #atom(): Formula {
    if (this.#take('(')) return this.#closed(this.#sum())
    const token = this.#token ?? ''
    if (/^[.\d]/.test(token) && token !== '.') {
      this.#next++
      const number = Number(token)
      return () => number
    }
    const called = FUNCTIONS.get(token)
    if (called) {
      this.#next++
      return this.#call(token, called)
    }
    if (!/^\w/.test(token)) throw this.#unexpected('a number, a name, a function or "("')
    if (!this.names.includes(token)) throw this.#unexpected(`one of ${[...this.names, ...FUNCTIONS.keys()].join(', ')}`)
    this.#next++
    return (scores) => scores[token]!
  }

  #call(name: string, { takesMany, of }: FormulaFunction): Formula {
    if (!this.#take('(')) throw this.#unexpected(`"(" after ${name}`)
    const numbers = [this.#sum()]
    while (takesMany && this.#take(',')) numbers.push(this.#sum())
    return this.#closed((scores) => of(numbers.map((number) => number(scores))))
  }

  #closed(formula: Formula): Formula {
    if (this.#take(')')) return formula
    throw this.#unexpected('")"')
  }
}
