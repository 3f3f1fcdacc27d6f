/** Extracts answers from texts, and compares them. */

/**
 * Extracts the answer from a text: the rest of the line after the last `####`, else the content of the last `\boxed{}`, else the rest
 * of the sentence after the last `The answer is`, with or without a colon.
 * @returns null for a text without any of these
 */
export function extractAnswer(text: string): string | null {
  const mark = text.lastIndexOf('####')
  if (mark < 0) return lastBoxed(text)?.trim() ?? afterPhrase(text)
  const after = text.slice(mark + 4).trimStart()
  const line = after.split('\n', 1)[0]!.trim()
  return lastBoxed(line)?.trim() ?? line
}

/** Returns what follows the last `The answer is`, without a dot at its end or dollars around it. */
export function afterPhrase(text: string): string | null {
  const [, ...parts] = text.split(/\bthe (?:final )?answer is:?/i)
  const rest = parts.at(-1) ?? ''
  const sentence = rest
    .trimStart()
    .replace(/(\.(\s|$)|\n)[\s\S]*/, '')
    .trim()
  return sentence === '' ? null : sentence.replace(/^\$(.*)\$$/, '$1')
}

/**
 * Returns the content of the last `\boxed{}` as the authors of MATH find it (hendrycks/math): null if the last `\boxed` has no brace
 * right after it, or none that closes it.
 */
export function lastBoxed(text: string): string | null {
  const command = '\\boxed'
  const start = text.lastIndexOf(command) + command.length
  if (start < command.length || text[start] !== '{') return null
  let depth = 0
  for (let i = start; i < text.length; i++) {
    if (text[i] === '{') depth++
    else if (text[i] === '}' && --depth === 0) return text.slice(start + 1, i)
  }
  return null
}

/** Returns the answer that a row expects, which may be inside a worked solution, or have a unit in brackets (ASDiv). */
export function expectedAnswer(answer: string): string {
  return extractAnswer(answer) ?? answer.trim().replace(/^([-+]?[\d.,]+)\s*\([^()]*\)$/, '$1')
}

/**
 * Tells whether an answer is the expected one. Two numbers are compared as numbers (with thousands commas, currency and percent
 * signs, a trailing dot, and in the given answer a unit in letters), anything else as text without surrounding space and a
 * trailing dot.
 */
export function isSameAnswer(given: string, expected: string): boolean {
  const number = canonicalNumber(expected)
  if (number === null) return plainText(given) === plainText(expected)
  return (canonicalNumber(given) ?? canonicalNumber(withoutUnit(given))) === number
}

const MONEY = /[$€£¥]/g

/** Returns a canonical spelling of a number, so that digits beyond float64 count too; null for anything else. */
export function canonicalNumber(text: string): string | null {
  const bare = text
    .replace(/\\[,!;\s]/g, '')
    .replace(/\\(?=[$%])/g, '')
    .replace(MONEY, '')
    .trim()
    .replace(/\.$/, '')
    .replace(/\s*%$/, '')
    .replace(/^([+-])\s+/, '$1')
  const decimal = /^([+-]?)(\d{1,3}(?:,\d{3})+|\d+)?(?:\.(\d*))?$/.exec(bare)
  if (decimal && (decimal[2] !== undefined || decimal[3])) {
    const whole = (decimal[2] ?? '').replaceAll(',', '').replace(/^0+/, '')
    const fraction = (decimal[3] ?? '').replace(/0+$/, '')
    const digits = `${whole || '0'}${fraction && `.${fraction}`}`
    return digits === '0' ? '0' : `${decimal[1] === '-' ? '-' : ''}${digits}`
  }
  if (!/^[+-]?(\d+\.?\d*|\.\d+)e[+-]?\d+$/i.test(bare)) return null
  // Small and large numbers are written in full, so that 1e3 is 1000.
  const value = Number(bare)
  return Number.isFinite(value) ? (canonicalNumber(value.toLocaleString('en', FULL)) ?? String(value)) : null
}

const FULL = { useGrouping: false, maximumSignificantDigits: 17 } as const

function withoutUnit(text: string): string {
  return text
    .trim()
    .replace(/\.$/, '')
    .replace(/(?<=[\d.%])\s*[\p{L}][\p{L} ]*$/u, '')
}

function plainText(text: string): string {
  return text.trim().replace(/\.$/, '').trim().replace(/\s+/g, ' ')
}
