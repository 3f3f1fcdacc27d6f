/** Compares two answers of MATH as its authors do (hendrycks/math, modeling/math_equivalence.py). */

/** Tells whether two answers are the same; an absent one equals only another absent one. */
export function isEquivalent(a: string | null, b: string | null): boolean {
  if (a === null || b === null) return a === b
  const [left, right] = [normalised(a), normalised(b)]
  return left === null || right === null ? a === b : left === right
}

/** Texts that are removed, or replaced, before units are. */
const SPELLINGS: readonly (readonly [string, string])[] = [
  ['\n', ''],
  ['\\!', ''],
  ['\\\\', '\\'],
  ['tfrac', 'frac'],
  ['dfrac', 'frac'],
  ['\\left', ''],
  ['\\right', ''],
  ['^{\\circ}', ''],
  ['^\\circ', ''],
  ['\\$', ''],
]

/** Replacements after that: percent signs, and zeros before a dot. */
const DECIMALS: readonly (readonly [string, string])[] = [
  ['\\%', ''],
  ['%', ''],
  [' .', ' 0.'],
  ['{.', '{0.'],
]

/** Returns the spelling by which answers are compared; null where the authors' program fails and compares the original texts. */
export function normalised(answer: string): string | null {
  const [value, ...units] = replaced(answer, SPELLINGS).split('\\text{ ')
  if (units.length > 1) return null
  let text = replaced(value!, DECIMALS)
  if (text.startsWith('.')) text = `0${text}`
  text = withoutVariable(text)
  const roots = withBraces(text, '\\sqrt', 1)
  if (roots === null) return null
  const fractions = withBraces(roots.replaceAll(' ', ''), '\\frac', 2)
  if (fractions === null) return null
  if (fractions === '0.5') return '\\frac{1}{2}'
  return fractions.replace(/^(-?[1-9]\d*|0)\/(-?[1-9]\d*|0)$/, '\\frac{$1}{$2}')
}

const replaced = (text: string, spellings: readonly (readonly [string, string])[]): string =>
  spellings.reduce((rest, [from, to]) => rest.replaceAll(from, to), text)

/** Removes `x=`, or another name of at most two characters. */
function withoutVariable(text: string): string {
  const [name, value, ...more] = text.split('=')
  return value !== undefined && more.length === 0 && [...name!].length <= 2 ? value : text
}

/**
 * Writes braces around the arguments of a command that has none: `\frac12` is `\frac{1}{2}`. Nothing changes if an argument is missing.
 * @returns null if nothing follows the command
 */
function withBraces(text: string, command: string, count: 1 | 2): string | null {
  const [before, ...parts] = text.split(command)
  const written: string[] = []
  for (const part of parts) {
    const characters = [...part]
    if (characters.length === 0) return null
    if (characters[0] === '{') {
      written.push(part)
      continue
    }
    if (characters.length < count) return text
    const [first, second] = characters
    const rest = characters.slice(count).join('')
    const last = count === 1 ? '' : second === '{' ? '{' : `{${second}}`
    written.push(`{${first}}${last}${rest}`)
  }
  return [before, ...written].join(command)
}
