/** Computes an expression of numbers, + - * / and brackets. @throws Error for anything else */
export function calculate(expression: string): number {
  const tokens = expression.match(/\d+(?:\.\d+)?|[-+*/()]|\S/g) ?? []
  let at = 0
  const sum = (): number => {
    let value = product()
    while (tokens[at] === '+' || tokens[at] === '-') value += tokens[at++] === '+' ? product() : -product()
    return value
  }
  const product = (): number => {
    let value = factor()
    while (tokens[at] === '*' || tokens[at] === '/') {
      if (tokens[at++] === '*') value *= factor()
      else value /= factor()
    }
    return value
  }
  const factor = (): number => {
    const token = tokens[at++] ?? 'the end'
    if (token === '-') return -factor()
    if (/^\d/.test(token)) return Number(token)
    if (token !== '(') throw new Error(`expected a number or a bracket but found ${token}`)
    const value = sum()
    if (tokens[at++] !== ')') throw new Error('a bracket is not closed')
    return value
  }
  const value = sum()
  if (at < tokens.length) throw new Error(`expected the end but found ${tokens[at]}`)
  return value
}
