/** Extracts and compares answers as PEFT's recipe does, which differs from `mora eval`. */

/** Delimiters in order of priority: the first of this list that a text contains counts, wherever it stands. */
const DELIMITERS = ['The answer is: ', 'The answer is ', 'The final answer is: ', 'The final answer is ', '#### ']

/** Returns the text after the delimiter's last occurrence, to the end of the line; null without a delimiter. */
export function parseAnswer(text: string): string | null {
  const trimmed = text.trim().replace(/[.!?]+$/, '')
  const delimiter = DELIMITERS.find((each) => trimmed.includes(each))
  if (delimiter === undefined) return null
  const after = trimmed.slice(trimmed.lastIndexOf(delimiter) + delimiter.length).trim()
  return after.split('\n', 1)[0]!.replace(/^[ .!?$%]+|[ .!?$%]+$/g, '')
}

/** A number with an optional fraction and exponent, as Python's Decimal reads it; thousands separators make a text. */
const DECIMAL = /^([+-]?)(?=\d|\.\d)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/

/** Returns the value of a decimal or of `a/b`; null for other texts. */
export function numberOf(text: string): number | null {
  const parts = text.split('/').map((part) => part.trim().replaceAll('_', ''))
  if (parts.length > 2 || !parts.every((part) => DECIMAL.test(part))) return null
  if (parts.length === 1) return Number(parts[0])
  const [numerator, denominator] = parts.map((part) => DECIMAL.exec(part)!)
  // Both are scaled to integers, so that only the quotient is rounded: 0.1/0.3 is 1/3.
  const shift = Math.max(fractionOf(numerator!), fractionOf(denominator!))
  const [above, below] = [whole(numerator!, shift), whole(denominator!, shift)]
  return below === 0 ? null : above / below
}

const fractionOf = ([, , , fraction = '', exponent = '0']: RegExpExecArray) => fraction.length - Number(exponent)

function whole(match: RegExpExecArray, shift: number): number {
  const [, sign, digits, fraction = ''] = match
  return Number(`${sign}${digits}${fraction}e${shift - fractionOf(match)}`)
}

/** Whether a prediction's answer equals a response's, as a number or as text. */
export function isRight(prediction: string, response: string): boolean {
  const expected = parseAnswer(response)
  if (expected === null) throw new Error(`The response has no answer: ${response}`)
  const given = parseAnswer(prediction)
  if (given === null) return false
  return (numberOf(given) ?? given) === (numberOf(expected) ?? expected)
}
