/** Python's operators. */
import { formatted, str } from '../python/text.js'
import { equals, isLess, itemsOf, numberOf, Tuple, tuple, typeName, type Value } from '../python/values.js'

/** Computes a binary operator other than `and`, `or` and comparisons. */
export function operate(operator: string, left: Value, right: Value): Value {
  if (operator === '~') return str(left) + str(right)
  if (operator === '%' && typeof left === 'string') return formatted(left, right)
  const [x, y] = [numberOf(left), numberOf(right)]
  if (x !== undefined && y !== undefined) return calculated(operator, x, y)
  if (operator === '+') {
    if (typeof left === 'string' && typeof right === 'string') return left + right
    if (Array.isArray(left) && Array.isArray(right) && left instanceof Tuple === right instanceof Tuple) {
      return left instanceof Tuple ? tuple([...left, ...right]) : [...left, ...right]
    }
  }
  if (operator === '*') {
    if (typeof y === 'bigint') return repeated(left, Number(y)) ?? refused(operator, left, right)
    if (typeof x === 'bigint') return repeated(right, Number(x)) ?? refused(operator, left, right)
  }
  return refused(operator, left, right)
}

function refused(operator: string, left: Value, right: Value): never {
  throw new Error(`the operator ${operator} is not for ${typeName(left)} and ${typeName(right)}`)
}

function repeated(value: Value, count: number): Value {
  const times = Math.max(0, count)
  if (typeof value === 'string') return value.repeat(times)
  if (!Array.isArray(value)) return undefined
  const items = Array.from({ length: times }, () => [...value]).flat()
  return value instanceof Tuple ? tuple(items) : items
}

/** Integers stay integers, except with `/` and negative powers. */
function calculated(operator: string, x: bigint | number, y: bigint | number): bigint | number {
  const [a, b] = [Number(x), Number(y)]
  if (['/', '//', '%'].includes(operator) && b === 0) throw new Error('a number is divided by zero')
  const areIntegers = typeof x === 'bigint' && typeof y === 'bigint'
  switch (operator) {
    case '+':
      return areIntegers ? x + y : a + b
    case '-':
      return areIntegers ? x - y : a - b
    case '*':
      return areIntegers ? x * y : a * b
    case '/':
      return a / b
    case '//':
      return areIntegers ? (x - modulo(x, y)) / y : Math.floor(a / b)
    case '%':
      return areIntegers ? modulo(x, y) : floatModulo(a, b)
    default:
      return areIntegers && y >= 0n ? x ** y : a ** b
  }
}

/** Python's remainder has the sign of the divisor. */
function modulo(x: bigint, y: bigint): bigint {
  const rest = x % y
  return rest !== 0n && rest < 0n !== y < 0n ? rest + y : rest
}

function floatModulo(x: number, y: number): number {
  const rest = x % y
  if (rest === 0) return 0 * Math.sign(y)
  return rest < 0 !== y < 0 ? rest + y : rest
}

/** Python's comparisons, `in` and `not in` included. */
export function compare(operator: string, left: Value, right: Value): boolean {
  switch (operator) {
    case '==':
      return equals(left, right)
    case '!=':
      return !equals(left, right)
    case '<':
      return isLess(left, right)
    case '>':
      return isLess(right, left)
    case '<=':
      return isLess(left, right) || equals(left, right)
    case '>=':
      return isLess(right, left) || equals(left, right)
    case 'in':
      return contains(right, left)
    default:
      return !contains(right, left)
  }
}

function contains(whole: Value, part: Value): boolean {
  if (typeof whole === 'string') {
    if (typeof part === 'string') return whole.includes(part)
    throw new Error(`a string cannot hold ${typeName(part)}`)
  }
  return whole instanceof Map ? whole.has(part) : itemsOf(whole).some((item) => equals(item, part))
}
