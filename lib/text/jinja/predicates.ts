/** Jinja's tests, used with `is` and by filters such as `select`. */
import { isLower, isUpper } from '../python/methods.js'
import { str } from '../python/text.js'
import { equals, numberOf, type Value } from '../python/values.js'
import { compare, operate } from './operators.js'

type Test = (value: Value, ...args: Value[]) => boolean

/** Tests that are operators. */
const OPERATORS: Readonly<Record<string, string>> = {
  eq: '==',
  equalto: '==',
  ge: '>=',
  greaterthan: '>',
  gt: '>',
  in: 'in',
  le: '<=',
  lessthan: '<',
  lt: '<',
  ne: '!=',
}
const SYMBOLS = Object.values(OPERATORS)

/** As in Jinja, an undefined value is an empty collection. */
const isCollection: Test = (value) =>
  typeof value === 'string' || Array.isArray(value) || value instanceof Map || value === undefined

const tests: Readonly<Record<string, Test>> = {
  boolean: (value) => typeof value === 'boolean',
  callable: (value) => typeof value === 'function',
  defined: (value) => value !== undefined,
  divisibleby: (value, divisor) => equals(operate('%', value, divisor), 0n),
  even: (value) => equals(operate('%', value, 2n), 0n),
  false: (value) => value === false,
  float: (value) => typeof value === 'number',
  integer: (value) => typeof value === 'bigint',
  iterable: isCollection,
  lower: (value) => isLower(str(value)),
  mapping: (value) => value instanceof Map,
  none: (value) => value === null,
  number: (value) => numberOf(value) !== undefined,
  odd: (value) => equals(operate('%', value, 2n), 1n),
  sameas: (value, other) => value === other,
  sequence: isCollection,
  string: (value) => typeof value === 'string',
  true: (value) => value === true,
  undefined: (value) => value === undefined,
  upper: (value) => isUpper(str(value)),
}

/** @throws Error if there is no test of that name */
export function testOf(name: string): Test {
  if (Object.hasOwn(tests, name)) return tests[name]!
  const operator = Object.hasOwn(OPERATORS, name) ? OPERATORS[name]! : name
  if (SYMBOLS.includes(operator)) return (value, other) => compare(operator, value, other)
  throw new Error(`there is no test ${name}`)
}
