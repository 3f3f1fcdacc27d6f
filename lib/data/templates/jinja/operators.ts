/** Comparisons, joins and tests of values, as Python and Jinja have them. */
import { itemsOf } from './strings.js'
import { repr, str } from './text.js'
import {
  ArrayValue,
  BooleanValue,
  FloatValue,
  IntegerValue,
  isFloat,
  isFunction,
  isInteger,
  isList,
  isMapping,
  isNone,
  isNumber,
  isText,
  isTruth,
  isTuple,
  isUndefined,
  StringValue,
  TupleValue,
  type Value,
  WideInteger,
} from './values.js'

const isNumeric = (value: Value) => isNumber(value) || isTruth(value)

/** Python's `==`. */
export function equals(a: Value, b: Value): boolean {
  if (a instanceof WideInteger && b instanceof WideInteger) return a.exact === b.exact
  if (isNumeric(a) && isNumeric(b)) return Number(a.value) === Number(b.value)
  if (isList(a) && isList(b)) {
    const [left, right] = [a.value as Value[], b.value as Value[]]
    const alike = isTuple(a) === isTuple(b) && left.length === right.length
    return alike && left.every((item, i) => equals(item, right[i]!))
  }
  if (isMapping(a) && isMapping(b)) {
    if (a.value.size !== b.value.size) return false
    return [...a.value].every(([key, item]) => b.value.has(key) && equals(item, b.value.get(key)!))
  }
  return a.type === b.type && a.value === b.value
}

/** Python's `in`. */
function contains(whole: Value, part: Value): boolean {
  if (isText(whole)) {
    if (isText(part)) return whole.value.includes(part.value)
    throw new Error(`a text cannot hold ${str(part) || 'what has no value'}`)
  }
  if (isMapping(whole)) return isText(part) && whole.value.has(part.value)
  return itemsOf(whole).some((item) => equals(item, part))
}

/** Python's `<`. */
function isLess(a: Value, b: Value): boolean {
  const comparable = (isNumeric(a) && isNumeric(b)) || (isText(a) && isText(b))
  if (comparable) return a.value < b.value
  throw new Error(`${repr(a)} and ${repr(b)} cannot be compared`)
}

/** Python's `+` of what is not numbers; undefined of numbers. */
function added(a: Value, b: Value): Value | undefined {
  if (isNumeric(a) && isNumeric(b)) return undefined
  if (isText(a) && isText(b)) return new StringValue(`${a.value}${b.value}`)
  const areTuples = [a, b].map((value) => isTuple(value))
  if (isList(a) && isList(b) && areTuples[0] === areTuples[1]) {
    const items = [...a.value, ...b.value]
    return areTuples[0] ? new TupleValue(items) : new ArrayValue(items)
  }
  throw new Error(`${kindOf(b)} cannot be added to ${kindOf(a)}`)
}

/** `%` after a text: `%s`, `%d`, `%r` and `%.2f` in it stand for values. */
export function formatted(format: string, values: readonly Value[]): string {
  let next = 0
  return format.replace(/%(?:%|(?:\.(\d+))?([sdirf]))/g, (whole, digits: string | undefined, kind?: string) => {
    if (kind === undefined) return '%'
    const value = values[next++]
    if (value === undefined) throw new Error('a format has more places than values')
    if (kind === 's') return str(value)
    if (kind === 'r') return repr(value)
    if (!isNumeric(value)) throw new Error(`${whole} of a format was given ${repr(value)}`)
    return kind === 'f' ? Number(value.value).toFixed(Number(digits ?? 6)) : String(Math.trunc(Number(value.value)))
  })
}

function kindOf(value: Value): string {
  if (isText(value)) return 'a text'
  if (isTuple(value)) return 'a tuple'
  if (isList(value)) return 'a list'
  if (isUndefined(value)) return 'what has no value'
  if (isNone(value)) return 'none'
  return isMapping(value) ? 'a mapping' : isNumeric(value) ? 'a number' : 'a value'
}

/** Undefined is one too, which is empty. */
const isCollection = (value: Value) => isText(value) || isList(value) || isMapping(value) || isUndefined(value)

type Test = (value: Value, ...args: Value[]) => boolean

const isWhole = (value: Value) => isInteger(value)
const remainder = (value: Value, by: number): number => {
  if (isNumber(value)) return ((value.value % by) + by) % by
  throw new Error(`${repr(value)} is no number`)
}

/** Those that the library does not have, or that work differently there than in Jinja. */
export const tests: Readonly<Record<string, Test>> = {
  iterable: isCollection,
  sequence: isCollection,
  callable: (value) => isFunction(value),
  number: isNumeric,
  integer: isWhole,
  float: (value) => isFloat(value),
  lower: (value) => str(value) !== str(value).toUpperCase() && str(value) === str(value).toLowerCase(),
  upper: (value) => str(value) !== str(value).toLowerCase() && str(value) === str(value).toUpperCase(),
  odd: (value) => remainder(value, 2) === 1,
  even: (value) => remainder(value, 2) === 0,
  divisibleby: (value, by) => remainder(value, Number(by?.value)) === 0,
  in: (value, whole) => contains(whole!, value),
  eq: (value, other) => equals(value, other!),
  equalto: (value, other) => equals(value, other!),
  '==': (value, other) => equals(value, other!),
  ne: (value, other) => !equals(value, other!),
  '!=': (value, other) => !equals(value, other!),
  lt: (value, other) => isLess(value, other!),
  gt: (value, other) => isLess(other!, value),
  lessthan: (value, other) => isLess(value, other!),
  greaterthan: (value, other) => isLess(other!, value),
  string: (value) => isText(value),
  mapping: isMapping,
  boolean: (value) => isTruth(value),
  true: (value) => isTruth(value) && value.value === true,
  false: (value) => isTruth(value) && value.value === false,
  none: (value) => isNone(value),
  defined: (value) => !isUndefined(value),
  undefined: (value) => isUndefined(value),
}

/** @throws Error where there is no test of that name */
export function testOf(name: string): Test {
  if (Object.hasOwn(tests, name)) return tests[name]!
  throw new Error(`it uses a test that is not known, ${name}`)
}

/** What an operator between two values gives where Python differs from the package; undefined elsewhere. */
export function operated(operator: string, left: Value, right: Value): Value | undefined {
  const truth = (value: boolean) => new BooleanValue(value)
  switch (operator) {
    case '==':
      return truth(equals(left, right))
    case '!=':
      return truth(!equals(left, right))
    case 'in':
      return truth(contains(right, left))
    case 'not in':
      return truth(!contains(right, left))
    case '<':
      return truth(isLess(left, right))
    case '>':
      return truth(isLess(right, left))
    case '<=':
      return truth(!isLess(right, left))
    case '>=':
      return truth(!isLess(left, right))
    case '~':
      return new StringValue(str(left) + str(right))
    case '%':
      return isText(left) ? new StringValue(formatted(left.value, valuesOf(right))) : modulo(left, right)
    case '+':
      return added(left, right)
    case '*':
      return repeat(left, right) ?? repeat(right, left)
    default:
      return undefined
  }
}

/** Python's `%` of numbers; undefined of anything else. */
function modulo(left: Value, right: Value): Value | undefined {
  if (!isNumber(left) || !isNumber(right) || right.value === 0) return undefined
  const value = remainder(left, right.value)
  return isInteger(left) && isInteger(right) ? new IntegerValue(value) : new FloatValue(value)
}

const valuesOf = (value: Value) => (isTuple(value) ? value.value : [value])

/** Python's `*` of a text or a list with a whole number; undefined of anything else. */
function repeat(value: Value, times: Value): Value | undefined {
  if (!isInteger(times)) return undefined
  const count = Math.max(0, times.value)
  if (isText(value)) return new StringValue(value.value.repeat(count))
  if (!isList(value)) return undefined
  return new ArrayValue(Array.from({ length: count }, () => value.value).flat())
}
