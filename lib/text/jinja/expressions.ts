/** Jinja's expressions. Each method reads one form and returns the function that computes its value. */

import { memberOf, sliced } from '../python/methods.js'
import { str } from '../python/text.js'
import { indexOf, isTrue, itemsOf, tuple, typeName, type Value } from '../python/values.js'
import { applyFilter } from './filters.js'
import { compare, operate } from './operators.js'
import { testOf } from './predicates.js'
import type { Scope } from './scope.js'
import type { Tokens } from './tokens.js'

export type Expression = (scope: Scope) => Value
/** Applies a filter to a value. */
type Change = (value: Value, scope: Scope) => Value
type Arguments = (scope: Scope) => { args: Value[]; keywords: Map<string, Value> }

const CONSTANTS: Readonly<Record<string, boolean | null>> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
}
/** Binary operators; each line binds tighter than the line before. */
const PRECEDENCE = [['+', '-'], ['~'], ['*', '/', '//', '%'], ['**']]
const COMPARISONS = ['==', '!=', '<', '<=', '>', '>=', 'in']
/** Tokens that end a tuple without parentheses after a comma. */
const TUPLE_ENDS = ['%}', '}}', ')', ']', 'if']
/** Words after a test that are not its argument. */
const NO_ARGUMENTS = ['else', 'or', 'and', 'if', 'is', 'not', 'in']

export class Expressions {
  readonly #tokens: Tokens

  constructor(tokens: Tokens) {
    this.#tokens = tokens
  }

  /** Reads an expression, or a tuple without parentheses. */
  expressions(item = () => this.expression()): Expression {
    const first = item()
    if (!this.#tokens.is(',')) return first
    const items = [first]
    while (this.#tokens.skip(',') && !TUPLE_ENDS.some((end) => this.#tokens.is(end))) items.push(item())
    return (scope) => tuple(items.map((one) => one(scope)))
  }

  expression(): Expression {
    let expression = this.or()
    while (this.#tokens.skip('if')) {
      const [whenTrue, test] = [expression, this.or()]
      const whenFalse = this.#tokens.skip('else') ? this.expression() : () => undefined
      expression = (scope) => (isTrue(test(scope)) ? whenTrue(scope) : whenFalse(scope))
    }
    return expression
  }

  /** Reads an expression without `if`. */
  or(): Expression {
    let expression = this.#and()
    while (this.#tokens.skip('or')) expression = either(expression, this.#and(), true)
    return expression
  }

  #and(): Expression {
    let expression = this.#not()
    while (this.#tokens.skip('and')) expression = either(expression, this.#not(), false)
    return expression
  }

  #not(): Expression {
    if (!this.#tokens.skip('not')) return this.#comparison()
    const operand = this.#not()
    return (scope) => !isTrue(operand(scope))
  }

  /** `a < b <= c` means `a < b and b <= c`. */
  #comparison(): Expression {
    const first = this.#binary(0)
    const rest: { operator: string; operand: Expression }[] = []
    for (let operator = this.#comparator(); operator; operator = this.#comparator()) {
      rest.push({ operator, operand: this.#binary(0) })
    }
    if (rest.length === 0) return first
    return (scope) => {
      let left = first(scope)
      return rest.every(({ operator, operand }) => {
        const right = operand(scope)
        const holds = compare(operator, left, right)
        left = right
        return holds
      })
    }
  }

  #comparator(): string | undefined {
    if (this.#tokens.skip('not', 'in')) return 'not in'
    return COMPARISONS.find((operator) => this.#tokens.skip(operator))
  }

  #binary(level: number): Expression {
    const operators = PRECEDENCE[level]
    if (!operators) return this.#unary()
    let expression = this.#binary(level + 1)
    for (;;) {
      const operator = operators.find((one) => this.#tokens.skip(one))
      if (!operator) return expression
      const [left, right] = [expression, this.#binary(level + 1)]
      expression = (scope) => operate(operator, left(scope), right(scope))
    }
  }

  #unary(): Expression {
    return this.#filtered(this.#signed())
  }

  #signed(): Expression {
    const sign = ['-', '+'].find((one) => this.#tokens.skip(one))
    if (!sign) return this.path(true)
    const operand = this.#signed()
    return (scope) => operate('*', sign === '-' ? -1n : 1n, operand(scope))
  }

  /** Reads a value with its attributes, subscripts and calls. */
  path(takesCalls: boolean): Expression {
    const { at } = this.#tokens.next
    let expression = this.#primary()
    for (;;) {
      const object = this.defined(expression, at)
      if (this.#tokens.skip('.')) expression = this.#attribute(object)
      else if (this.#tokens.skip('[')) expression = this.#subscript(object)
      else if (takesCalls && this.#tokens.skip('(')) expression = this.#call(object, at)
      else return expression
    }
  }

  /** Makes an expression throw where its value is undefined. The error quotes the source from `at` on. */
  defined(expression: Expression, at: number): Expression {
    const written = this.#tokens.since(at)
    return (scope) => {
      const value = expression(scope)
      if (value === undefined) throw new Error(`${written} is not defined`)
      return value
    }
  }

  #primary(): Expression {
    const { kind, value, at } = this.#tokens.next
    if (kind === 'integer') return constant(BigInt(this.#tokens.take().replaceAll('_', '')))
    if (kind === 'float') return constant(Number(this.#tokens.take().replaceAll('_', '')))
    if (kind === 'string') {
      let text = ''
      while (this.#tokens.next.kind === 'string') text += unescaped(this.#tokens.take())
      return constant(text)
    }
    if (kind === 'name') {
      const name = this.#tokens.take()
      return Object.hasOwn(CONSTANTS, name) ? constant(CONSTANTS[name]) : (scope) => scope.get(name)
    }
    if (this.#tokens.skip('[')) {
      const items = this.#tokens.list(']', () => this.expression())
      return (scope) => items.map((item) => item(scope))
    }
    if (this.#tokens.skip('{')) return this.#mapping()
    if (value !== '(') throw this.#tokens.expected('an expression')
    this.#tokens.take()
    if (this.#tokens.skip(')')) return () => tuple([])
    const inner = this.expressions()
    this.#tokens.expect(')', `) for the ( of line ${this.#tokens.lineOf(at)}`)
    return inner
  }

  #mapping(): Expression {
    const entries = this.#tokens.list('}', () => {
      const key = this.expression()
      this.#tokens.expect(':')
      return [key, this.expression()] as const
    })
    return (scope) => new Map(entries.map(([key, value]) => [key(scope), value(scope)]))
  }

  #attribute(object: Expression): Expression {
    if (this.#tokens.next.kind === 'integer') {
      const place = BigInt(this.#tokens.take())
      return (scope) => memberOf(object(scope), place, true)
    }
    const name = this.#tokens.name()
    return (scope) => memberOf(object(scope), name, false)
  }

  #subscript(object: Expression): Expression {
    const parts: (Expression | undefined)[] = []
    do parts.push(this.#tokens.is(':') || this.#tokens.is(']') ? undefined : this.expressions())
    while (this.#tokens.skip(':'))
    const [key, stop, step] = parts
    if (parts.length > 3 || (parts.length === 1 && !key)) throw this.#tokens.expected('a key')
    this.#tokens.expect(']')
    if (parts.length === 1) return (scope) => memberOf(object(scope), key!(scope), true)
    return (scope) => sliced(object(scope), indexOf(key?.(scope)), indexOf(stop?.(scope)), indexOf(step?.(scope)))
  }

  #call(callee: Expression, at: number): Expression {
    const written = this.#tokens.since(at)
    const given = this.args()
    return (scope) => {
      const called = callee(scope)
      if (typeof called !== 'function') throw new Error(`${written} is ${typeName(called)} and no function`)
      const { args, keywords } = given(scope)
      return called(args, keywords)
    }
  }

  /** Reads `value, name=value, *value, **value)`, the arguments after an opening parenthesis. */
  args(): Arguments {
    const all = this.#tokens.list(')', () => {
      const kind = ['**', '*'].find((one) => this.#tokens.skip(one))
      const name = kind === undefined && this.#tokens.isFollowedBy('=') ? this.#tokens.name() : undefined
      if (name !== undefined) this.#tokens.expect('=')
      return { kind, name, expression: this.expression() }
    })
    return (scope) => {
      const args: Value[] = []
      const keywords = new Map<string, Value>()
      for (const { kind, name, expression } of all) {
        const value = expression(scope)
        if (kind === '*') args.push(...itemsOf(value))
        else if (kind === '**' && value instanceof Map) for (const [key, item] of value) keywords.set(str(key), item)
        else if (name !== undefined) keywords.set(name, value)
        else args.push(value)
      }
      return { args, keywords }
    }
  }

  #optionalArgs(): Arguments {
    return this.#tokens.skip('(') ? this.args() : () => ({ args: [], keywords: new Map() })
  }

  /** Reads the filters and tests after a value. */
  #filtered(value: Expression): Expression {
    const { at } = this.#tokens.next
    let expression = value
    for (;;) {
      const operand = expression
      if (this.#tokens.skip('|')) {
        const change = this.filter()
        expression = (scope) => change(operand(scope), scope)
      } else if (this.#tokens.skip('is')) {
        expression = this.#test(operand)
      } else if (this.#tokens.skip('(')) {
        expression = this.#call(operand, at)
      } else {
        return expression
      }
    }
  }

  /** Reads a filter after its bar. */
  filter(): Change {
    const name = this.#tokens.name()
    const given = this.#optionalArgs()
    return (value, scope) => {
      const { args, keywords } = given(scope)
      return applyFilter(name, value, args, keywords)
    }
  }

  #test(operand: Expression): Expression {
    const isNegated = this.#tokens.skip('not')
    const name = this.#tokens.name()
    const { kind, value } = this.#tokens.next
    // One argument needs no parentheses: `x is divisibleby 3`.
    const hasOne = kind === 'symbol' ? '[{'.includes(value) : kind === 'name' && !NO_ARGUMENTS.includes(value)
    const argument = hasOne || ['string', 'integer', 'float'].includes(kind) ? this.path(true) : undefined
    const given = argument ? undefined : this.#optionalArgs()
    return (scope) => {
      const args = argument ? [argument(scope)] : given!(scope).args
      return testOf(name)(operand(scope), ...args) !== isNegated
    }
  }
}

const constant = (value: Value) => () => value

/** `or` and `and`: the value of `left` if its truth is `decides`, else that of `right`. */
const either =
  (left: Expression, right: Expression, decides: boolean): Expression =>
  (scope) => {
    const value = left(scope)
    return isTrue(value) === decides ? value : right(scope)
  }

const ESCAPES: Record<string, string> = { '\n': '', a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' }
const ESCAPE = /\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([0-7]{1,3})|(.))/gs

/** Returns the text of a string literal, with Python's escapes resolved. */
function unescaped(literal: string): string {
  return literal.slice(1, -1).replace(ESCAPE, (whole, x, u, long, octal, other) => {
    if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8))
    const hex = x ?? u ?? long
    if (hex === undefined) return ESCAPES[other] ?? ('\\\'"'.includes(other) ? other : whole)
    return String.fromCodePoint(Number.parseInt(hex, 16))
  })
}
