/** Estimates how long a grammar takes to compile. */

/** A text, a class, a comment, the name of a rule before its body, another name, parentheses, and a number of times. */
const PARTS =
  /"((?:[^"\\\n]|\\.)*)"|\[((?:[^\]\\\n]|\\.)*)\]|#[^\n]*|([A-Za-z_][\w.-]*\s*::=)|[A-Za-z_][\w.-]*|[()]|\{\s*(\d*)\s*,?\s*(\d*)\s*\}/g

/** The library tries all tokens of the vocabulary at each place that takes many characters, and few at others. */
const [WIDE, NARROW] = [16, 1]
/** Weight of a letter of a text, and of a name. */
const SMALL = 0.5

/** A grammar of this size compiles in less than a second: that of an ordinary schema, without long texts whose length is bounded. */
export const MOST_OF_SMALL = 3000

/**
 * Estimates the work of compiling a grammar: the places in it, counted as often as they are repeated. The library's work also depends
 * on the vocabulary.
 * @param grammar EBNF, as XGrammar reads it
 */
export function grammarSize(grammar: string): number {
  const outer: number[] = []
  /** Sizes of the innermost group before its last part, and of that part. */
  let [size, last] = [0, 0]
  const add = (one: number) => {
    size += last
    last = one
  }
  for (const [part, text, set, rule, least, most] of grammar.matchAll(PARTS)) {
    if (text !== undefined) add(SMALL * text.length)
    else if (set !== undefined) add(isWide(set) ? WIDE : NARROW)
    else if (rule !== undefined) add(0)
    else if (part === '(') {
      add(0)
      outer.push(size)
      size = 0
    } else if (part === ')') {
      last += size
      size = outer.pop() ?? 0
    } else if (part[0] === '{') last *= Math.max(1, Number(least), Number(most))
    else if (part[0] !== '#') add(SMALL)
  }
  return size + last
}

/** Returns how deep a grammar nests parentheses. @param grammar EBNF, as XGrammar reads it */
export function depthOf(grammar: string): number {
  let [depth, deepest] = [0, 0]
  for (const [part] of grammar.matchAll(PARTS)) {
    if (part === '(') deepest = Math.max(deepest, ++depth)
    else if (part === ')') depth--
  }
  return deepest
}

/** Whether a class takes most letters. */
const isWide = (set: string): boolean =>
  set[0] === '^' || /a-z|\\x61-\\x7a|\\x[2-5].-\\x7|\\x5[d-f]-\\x(?:7|[8-9a-f])/.test(set)
