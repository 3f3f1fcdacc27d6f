/** Extracts answers as MetaMath (Yu et al. 2023) does. */

const MARK = 'The answer is: '

function afterMark(text: string): string | null {
  const at = text.lastIndexOf(MARK)
  return at < 0 ? null : text.slice(at + MARK.length)
}

/** Returns the answer to a problem of GSM8K: the first number after the last mark, rounded, half to even. */
export function metamathNumber(text: string): number | null {
  const found = /[-+]?\d*[.,/]?\d+/.exec(afterMark(text) ?? '')?.[0].replaceAll(',', '')
  if (found === undefined) return null
  const [numerator, denominator] = found.split('/')
  if (denominator === undefined) return halfToEven(Number(found))
  if (!/\d/.test(numerator!)) return null
  return halfToEven(Number(numerator) / (Number(denominator) || 1))
}

/** Returns the answer to a problem of MATH: the text after the last mark, up to a dot that ends a line. */
export function metamathText(text: string): string | null {
  return afterMark(text)?.replace(/\.(\n[\s\S]*)?$/, '') ?? null
}

function halfToEven(value: number): number {
  const down = Math.floor(value)
  const isTie = value - down === 0.5
  return isTie ? 2 * Math.round(value / 2) : Math.round(value)
}
