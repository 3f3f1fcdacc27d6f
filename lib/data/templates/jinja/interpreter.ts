/**
 * Jinja as Python's library renders it. The package parses templates and knows their statements; what differs from Python
 * is done here: how values are written, compared, joined, looped over and taken apart.
 */
import { filters, lengthOf } from './filters.js'
import { itemsWithin, LimitedInterpreter, type Node, textWithin } from './limits.js'
import { added, contains, equals, formatted, isLess, testOf } from './operators.js'
import { itemsOf, mappingMethod, stringMethod } from './strings.js'
import { str } from './text.js'
import {
  ArrayValue,
  BooleanValue,
  FloatValue,
  functionOf,
  IntegerValue,
  innerScope,
  isInteger,
  isList,
  isMapping,
  isNone,
  isNumber,
  isText,
  isTruth,
  isTuple,
  isUndefined,
  ObjectValue,
  type Scope,
  StringValue,
  TupleValue,
  UndefinedValue,
  type Value,
} from './values.js'

/** A stretch of what a template writes. */
export interface Piece {
  text: string
  /** The message whose round of a loop wrote it; undefined of what stands outside of such loops. */
  message: number | undefined
  /** Whether it stands between `{% generation %}` marks. */
  generated: boolean
}

/** What the parser has no statements for; `marked` in program.ts puts them in. */
export const OUTPUT = 'Output'
export const GENERATION = 'Generation'
/** A value that is there already, where the package wants a node. */
const GIVEN = 'Given'

class BreakLoop extends Error {}
class ContinueLoop extends Error {}

export class PythonInterpreter extends LimitedInterpreter {
  readonly #messages: ReadonlyMap<Value, number>
  #pieces: Piece[] = []
  #length = 0
  #message: number | undefined
  #generated = false
  /** Inside a loop over anything but messages: a variable may be set to the message that a round is about. */
  #findsMessage = false

  /** @param messages values of which loops go through, and their numbers */
  constructor(
    readonly scope: Scope,
    messages: readonly Value[],
  ) {
    super(scope)
    this.#messages = new Map(messages.map((message, i) => [message, i]))
  }

  /** What the program writes, in order. */
  write(program: Node): Piece[] {
    this.#execute(bodyOf(program), this.scope)
    return this.#pieces
  }

  #execute(statements: readonly Node[], scope: Scope): void {
    for (const node of statements) {
      this.count(1)
      switch (node.type) {
        case 'Program':
          this.#execute(bodyOf(node), scope)
          break
        case 'If':
          this.#execute(bodyOf(node, this.#isTrue(node.test, scope) ? 'body' : 'alternate'), scope)
          break
        case 'For':
          this.#loop(node, scope)
          break
        case 'Break':
          throw new BreakLoop()
        case 'Continue':
          throw new ContinueLoop()
        case GENERATION: {
          const outer = this.#generated
          this.#generated = true
          this.#execute(bodyOf(node), innerScope(scope))
          this.#generated = outer
          break
        }
        default: {
          const value = this.evaluate(node, scope)
          if (isText(value)) this.#emit(value.value)
        }
      }
    }
  }

  #emit(text: string): void {
    if (text === '') return
    this.#length = textWithin(this.#length + text.length)
    const last = this.#pieces.at(-1)
    const [message, generated] = [this.#message, this.#generated]
    if (last && last.message === message && last.generated === generated) last.text += text
    else this.#pieces.push({ text, message, generated })
  }

  /** What statements write, as a text. */
  #captured(statements: readonly Node[], scope: Scope): Value {
    const [pieces, length] = [this.#pieces, this.#length]
    this.#pieces = []
    this.#length = 0
    try {
      this.#execute(statements, scope)
      return new StringValue(this.#pieces.map(({ text }) => text).join(''))
    } finally {
      this.#pieces = pieces
      this.#length = length
    }
  }

  /** Each round has a scope of its own: what it sets is gone in the next. */
  #loop(node: Node, scope: Scope): void {
    const iterable = node.iterable as Node
    const select = iterable.type === 'SelectExpression' ? iterable : undefined
    const bound = (item: Value): Scope => {
      const inner = innerScope(scope)
      bind(node.loopvar as Node, item, inner)
      return inner
    }
    let items = itemsOf(this.evaluate((select?.lhs as Node | undefined) ?? iterable, scope))
    if (select) items = items.filter((item) => this.#isTrue(select.test, bound(item)))
    itemsWithin(items.length)
    if (items.length === 0) this.#execute(bodyOf(node, 'defaultBlock'), scope)
    const outer = [this.#message, this.#findsMessage] as const
    const changes = changesOf()
    for (const [i, item] of items.entries()) {
      this.countRound()
      const message = this.#messages.get(item)
      this.#message = message ?? outer[0]
      this.#findsMessage = message === undefined
      const inner = bound(item)
      if (node.readsLoop) inner.setVariable('loop', loopValue(items, i, changes))
      try {
        this.#execute(bodyOf(node), inner)
      } catch (control) {
        if (control instanceof BreakLoop) break
        if (!(control instanceof ContinueLoop)) throw control
      }
    }
    ;[this.#message, this.#findsMessage] = outer
  }

  protected override compute(node: Node | undefined, scope: Scope): Value {
    switch (node?.type) {
      case GIVEN:
        return node.value as Value
      case OUTPUT:
        return new StringValue(str(this.#used(node.expression, scope)))
      case 'Program':
      case 'If':
      case 'For':
      case GENERATION:
        return this.#captured([node], scope)
      case 'Break':
        throw new BreakLoop()
      case 'Continue':
        throw new ContinueLoop()
      case 'Set':
        return this.#set(node, scope)
      case 'BinaryExpression':
        return this.#binary(node, scope)
      case 'MemberExpression':
        return this.#member(node, scope)
      case 'TestExpression': {
        const test = testOf((node.test as Named).value)
        return new BooleanValue(test(this.#used(node.operand, scope)) !== node.negate)
      }
      case 'FilterExpression':
        return this.#filter(node.filter as Node, this.evaluate(node.operand as Node, scope), scope)
      case 'FilterStatement':
        return this.#filter(node.filter as Node, this.#captured(bodyOf(node), scope), scope)
      case 'CallExpression':
        return super.compute({ ...node, args: (node.args as Node[]).map((arg) => this.#argument(arg, scope)) }, scope)
      default:
        return super.compute(node, scope)
    }
  }

  /** A value that is then looked at as a whole. */
  #used(node: unknown, scope: Scope): Value {
    const value = this.evaluate(node as Node, scope)
    this.use(value)
    return value
  }

  #argument(node: Node, scope: Scope): Node {
    if (node.type === 'KeywordArgumentExpression') return { ...node, value: given(this.#used(node.value, scope)) }
    return node.type.endsWith('SpreadExpression') ? node : given(this.#used(node, scope))
  }

  #isTrue(node: unknown, scope: Scope): boolean {
    return this.evaluate(node as Node, scope).__bool__().value
  }

  #set(node: Node, scope: Scope): Value {
    const done = super.compute(node, scope)
    const assignee = node.assignee as Node
    if (this.#findsMessage && assignee.type === 'Identifier') {
      const message = this.#messages.get(scope.lookupVariable((assignee as unknown as Named).value))
      if (message !== undefined) this.#message = message
    }
    return done
  }

  #binary(node: Node, scope: Scope): Value {
    const operator = (node.operator as Named).value
    const left = this.evaluate(node.left as Node, scope)
    if (operator === 'and' || operator === 'or') {
      return left.__bool__().value === (operator === 'and') ? this.evaluate(node.right as Node, scope) : left
    }
    const right = this.evaluate(node.right as Node, scope)
    this.use(left, right)
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
        if (isText(left)) return new StringValue(formatted(left.value, valuesOf(right)))
        break
      case '+': {
        const sum = added(left, right)
        if (sum) return sum
        break
      }
      case '*': {
        const repeated = repeat(left, right) ?? repeat(right, left)
        if (repeated) return repeated
        break
      }
    }
    if (operator === '%' && isNumber(left) && isNumber(right) && right.value !== 0) {
      const remainder = ((left.value % right.value) + right.value) % right.value
      const isWhole = isInteger(left) && isInteger(right)
      return isWhole ? new IntegerValue(remainder) : new FloatValue(remainder)
    }
    return super.compute({ ...node, left: given(numeric(left)), right: given(numeric(right)) }, scope)
  }

  #member(node: Node, scope: Scope): Value {
    const object = this.evaluate(node.object as Node, scope)
    const property = node.property as Node
    if (isUndefined(object)) throw new Error(`${nameOf(node.object as Node)} has no value`)
    if (property.type === 'SliceExpression') return this.#slice(object, property, scope)
    const key = node.computed ? this.evaluate(property, scope) : valueOfName(property)
    // A method may go through all of it, and so does a place in a text.
    if (isText(object) || (isList(object) && !isInteger(key))) this.use(object)
    return memberOf(object, key, node.computed === true) ?? new UndefinedValue()
  }

  #slice(object: Value, node: Node, scope: Scope): Value {
    this.use(object)
    if (!isText(object) && !isList(object)) throw new Error('a slice was asked of what is no text and no list')
    const [start, stop, step = 1] = ['start', 'stop', 'step'].map((part) => {
      const value = node[part] === undefined ? undefined : this.evaluate(node[part] as Node, scope)
      if (value === undefined || isNone(value)) return undefined
      if (isInteger(value)) return value.value
      throw new Error(`a place of a slice was expected to be a whole number, but is ${str(value)}`)
    })
    if (step === 0) throw new Error('the step of a slice is 0')
    const taken = sliced(itemsOf(object), start, stop, step)
    if (isText(object)) return new StringValue(taken.map(str).join(''))
    return isTuple(object) ? new TupleValue(taken) : new ArrayValue(taken)
  }

  #filter(filter: Node, value: Value, scope: Scope): Value {
    const isCall = filter.type === 'CallExpression'
    const name = ((isCall ? filter.callee : filter) as Named).value
    const { args, keywords } = this.#arguments(isCall ? (filter.args as Node[]) : [], scope)
    this.use(value, ...args, ...keywords.values())
    if (!Object.hasOwn(filters, name)) {
      return super.compute({ type: 'FilterExpression', operand: given(value), filter }, scope)
    }
    const apply = (other: string, item: Value, more: Value[]): Value => {
      const callee = { type: 'Identifier', value: other }
      return this.#filter({ type: 'CallExpression', callee, args: more.map(given) }, item, scope)
    }
    return filters[name]!({ value, args, keywords, apply })
  }

  #arguments(nodes: readonly Node[], scope: Scope): { args: Value[]; keywords: Map<string, Value> } {
    const args: Value[] = []
    const keywords = new Map<string, Value>()
    for (const node of nodes) {
      if (node.type === 'KeywordArgumentExpression') {
        keywords.set((node.key as Named).value, this.evaluate(node.value as Node, scope))
      } else if (node.type === 'SpreadExpression') {
        args.push(...itemsOf(this.evaluate(node.argument as Node, scope)))
      } else if (node.type === 'KeywordSpreadExpression') {
        const given = this.evaluate(node.argument as Node, scope)
        if (isMapping(given)) for (const [key, value] of given.value) keywords.set(key, value)
      } else {
        args.push(this.evaluate(node, scope))
      }
    }
    return { args, keywords }
  }
}

/** An identifier or an operator. */
interface Named {
  readonly value: string
}

const given = (value: Value): Node => ({ type: GIVEN, value })
const bodyOf = (node: Node, part = 'body'): readonly Node[] => (node[part] ?? []) as readonly Node[]
const numeric = (value: Value) => (isTruth(value) ? new IntegerValue(Number(value.value)) : value)
const valuesOf = (value: Value) => (isTuple(value) ? value.value : [value])

function valueOfName({ type, value }: Node): Value {
  return type === 'IntegerLiteral' ? new IntegerValue(value as number) : new StringValue(value as string)
}

function nameOf(node: Node): string {
  if (node.type === 'Identifier') return String(node.value)
  if (node.type !== 'MemberExpression') return 'what is taken apart'
  const property = node.property as Node
  const object = nameOf(node.object as Node)
  return node.computed ? `${object}[${JSON.stringify(property.value ?? '...')}]` : `${object}.${property.value}`
}

function bind(target: Node, item: Value, scope: Scope): void {
  if (target.type === 'Identifier') {
    scope.setVariable(String(target.value), item)
    return
  }
  const targets = target.value as Node[]
  const items = itemsOf(item)
  if (targets.length !== items.length) {
    throw new Error(`a loop expects ${targets.length} values a round, but ${items.length} came`)
  }
  for (const [i, one] of targets.entries()) bind(one, items[i]!, scope)
}

/** `loop.changed`: whether it is given something else than in the round before. */
function changesOf(): Value {
  let last: Value[] | undefined
  return functionOf((args) => {
    const isSame = last !== undefined && equals(new ArrayValue(last), new ArrayValue(args))
    last = args
    return new BooleanValue(!isSame)
  })
}

function loopValue(items: readonly Value[], i: number, changed: Value): Value {
  const number = (value: number) => new IntegerValue(value)
  const truth = (value: boolean) => new BooleanValue(value)
  return new ObjectValue(
    new Map<string, Value>([
      ['index', number(i + 1)],
      ['index0', number(i)],
      ['revindex', number(items.length - i)],
      ['revindex0', number(items.length - i - 1)],
      ['first', truth(i === 0)],
      ['last', truth(i === items.length - 1)],
      ['length', number(items.length)],
      ['previtem', items[i - 1] ?? new UndefinedValue()],
      ['nextitem', items[i + 1] ?? new UndefinedValue()],
      ['changed', changed],
      ['cycle', functionOf((args) => args[i % args.length] ?? new UndefinedValue())],
    ]),
  )
}

/** `object.name` finds methods before keys, `object[key]` keys before methods. */
function memberOf(object: Value, key: Value, isSubscript: boolean): Value | undefined {
  const name = isText(key) ? key.value : undefined
  if (isMapping(object)) {
    if (name === undefined) return undefined
    const [method, item] = [mappingMethod(object.value, name), object.value.get(name)]
    return isSubscript ? (item ?? method) : (method ?? item)
  }
  if (object.type === 'NamespaceValue') return (object.value as Map<string, Value>).get(name ?? '')
  if (isList(object) || isText(object)) {
    if (isInteger(key)) return itemsOf(object).at(key.value)
    if (isText(object)) return name === undefined ? undefined : stringMethod(object.value, name)
    return name === 'index' || name === 'count' ? listMethod(object.value, name) : undefined
  }
  return undefined
}

function listMethod(items: readonly Value[], name: 'index' | 'count'): Value {
  return functionOf(([wanted]) => {
    const found = [...items.keys()].filter((i) => equals(items[i]!, wanted!))
    if (name === 'count') return new IntegerValue(found.length)
    if (found.length === 0) throw new Error(`a list has no ${str(wanted!)}`)
    return new IntegerValue(found[0]!)
  })
}

/** Python's slices. */
function sliced(items: readonly Value[], start: number | undefined, stop: number | undefined, step: number): Value[] {
  const { length } = items
  const clamp = (place: number, least: number, most: number) =>
    Math.max(least, Math.min(most, place < 0 ? place + length : place))
  const isForward = step > 0
  const [least, most] = isForward ? [0, length] : [-1, length - 1]
  const first = start === undefined ? (isForward ? 0 : length - 1) : clamp(start, least, most)
  const last = stop === undefined ? (isForward ? length : -1) : clamp(stop, least, most)
  const taken: Value[] = []
  for (let i = first; isForward ? i < last : i > last; i += step) taken.push(items[i]!)
  return taken
}

/** Python's `*` of a text or a list with a whole number; undefined of anything else. */
function repeat(value: Value, times: Value): Value | undefined {
  if (!isInteger(times)) return undefined
  const count = Math.max(0, times.value)
  if (isText(value)) {
    textWithin(value.value.length * count)
    return new StringValue(value.value.repeat(count))
  }
  if (!isList(value)) return undefined
  itemsWithin(lengthOf(value) * count)
  return new ArrayValue(Array.from({ length: count }, () => value.value).flat())
}
