/** Changed copies of a C++ source, each by one token, as the formatter lays it out. */

/**
 * Maps each to the other.
 * @param {[string, string][]} pairs
 * @returns {Map<string, string[]>}
 */
const other = (...pairs) =>
  new Map(
    pairs.flatMap(
      ([a, b]) =>
        /** @type {[string, string[]][]} */ ([
          [a, [b]],
          [b, [a]],
        ]),
    ),
  )

/** Binary operators stand between spaces, which tells them from brackets of types and arrows. */
/** @type {Map<string, string[]>} */
const binary = new Map(
  /** @type {[string, string[]][]} */ ([
    ...other(['+', '-'], ['==', '!='], ['&&', '||'], ['+=', '-=']),
    ['*', ['/']],
    ['/', ['*']],
    ['%', ['*']],
    ['*=', ['/=']],
    ['<<', ['>>']],
    ['<', ['<=', '>=']],
    ['<=', ['<', '>']],
    ['>', ['>=', '<=']],
    ['>=', ['>', '<']],
  ]),
)
const words = other(['true', 'false'], ['max', 'min'], ['ceil', 'floor'])
const token = /(?<= )(?:[=!]=|&&|\|\||[-+*]=|<<|[<>]=?|[-+*/%])(?= |\n)|\b\d+\b|\b[a-zA-Z]+\b|(?<=[\s(])!(?=[\w(])/g

/** @returns {{ source: string, line: number, text: string }[]} the line, and what it is now */
export function mutantsOf(source) {
  const code = withoutText(source)
  return [...code.matchAll(token)].flatMap(({ 0: found, index }) =>
    replacements(found).map((replacement) => {
      const changed = source.slice(0, index) + replacement + source.slice(index + found.length)
      const line = source.slice(0, index).split('\n').length
      return { source: changed, line, text: changed.split('\n')[line - 1].trim() }
    }),
  )
}

function replacements(found) {
  if (found === '!') return ['']
  if (/^\d/.test(found)) return constants(found)
  return binary.get(found) ?? words.get(found) ?? []
}

function constants(number) {
  const value = Number.parseInt(number, 10)
  return [value + 1, ...(value > 0 ? [value - 1] : [])].map(String)
}

/** Blanks out comments, directives and texts, which do not change results. */
function withoutText(source) {
  const text = /\/\*[\s\S]*?\*\/|\/\/.*|"(?:[^"\\\n]|\\.)*"|^#.*/gm
  return source.replace(text, (found) => found.replace(/[^\n]/g, ' '))
}
