/**
 * Jinja as Python's library renders it. The package parses templates and knows their statements; what differs from Python
 * is done here: how values are written, compared, joined, looped over and taken apart.
 */
import { filters } from './filters.js'
import { BreakLoop, bind, ContinueLoop, changesOf, loopValue } from './loops.js'
import { memberOf, nameOf, sliced, valueOfName } from './members.js'
import type { Named, Node } from './node.js'
import { operated, testOf } from './operators.js'
import { itemsOf } from './strings.js'
import { str } from './text.js'
import {
  ArrayValue,
  BooleanValue,
  IntegerValue,
  Interpreter,
  innerScope,
  isInteger,
  isList,
  isMapping,
  isNone,
  isText,
  isTruth,
  isTuple,
  isUndefined,
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

export class PythonInterpreter extends Interpreter {
  readonly #messages: ReadonlyMap<Value, number>
  #pieces: Piece[] = []
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
    const last = this.#pieces.at(-1)
    const [message, generated] = [this.#message, this.#generated]
    if (last && last.message === message && last.generated === generated) last.text += text
    else this.#pieces.push({ text, message, generated })
  }

  /** What statements write, as a text. */
  #captured(statements: readonly Node[], scope: Scope): Value {
    const pieces = this.#pieces
    this.#pieces = []
    try {
      this.#execute(statements, scope)
      return new StringValue(this.#pieces.map(({ text }) => text).join(''))
    } finally {
      this.#pieces = pieces
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
    if (items.length === 0) this.#execute(bodyOf(node, 'defaultBlock'), scope)
    const outer = [this.#message, this.#findsMessage] as const
    const changes = changesOf()
    for (const [i, item] of items.entries()) {
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

  override evaluate(node: Node | undefined, scope: Scope): Value {
    switch (node?.type) {
      case GIVEN:
        return node.value as Value
      case OUTPUT:
        return new StringValue(str(this.evaluate(node.expression as Node, scope)))
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
        return new BooleanValue(test(this.evaluate(node.operand as Node, scope)) !== node.negate)
      }
      case 'FilterExpression':
        return this.#filter(node.filter as Node, this.evaluate(node.operand as Node, scope), scope)
      case 'FilterStatement':
        return this.#filter(node.filter as Node, this.#captured(bodyOf(node), scope), scope)
      default:
        return super.evaluate(node, scope)
    }
  }

  #isTrue(node: unknown, scope: Scope): boolean {
    return this.evaluate(node as Node, scope).__bool__().value
  }

  #set(node: Node, scope: Scope): Value {
    const done = super.evaluate(node, scope)
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
    const result = operated(operator, left, right)
    if (result) return result
    return super.evaluate({ ...node, left: given(numeric(left)), right: given(numeric(right)) }, scope)
  }

  #member(node: Node, scope: Scope): Value {
    const object = this.evaluate(node.object as Node, scope)
    const property = node.property as Node
    if (isUndefined(object)) throw new Error(`${nameOf(node.object as Node)} has no value`)
    if (property.type === 'SliceExpression') return this.#slice(object, property, scope)
    const key = node.computed ? this.evaluate(property, scope) : valueOfName(property)
    return memberOf(object, key, node.computed === true) ?? new UndefinedValue()
  }

  #slice(object: Value, node: Node, scope: Scope): Value {
    if (!isText(object) && !isList(object)) throw new Error('a slice was asked of what is no text and no list')
    const [start, stop, step = 1] = ['start', 'stop', 'step'].map((part) => {
      const value = node[part] === undefined ? undefined : this.evaluate(node[part] as Node, scope)
      if (value === undefined || isNone(value)) return undefined
      if (isInteger(value)) return value.value
      throw new Error(`expected a whole number as a place of a slice but received ${str(value)}`)
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
    if (!Object.hasOwn(filters, name)) {
      return super.evaluate({ type: 'FilterExpression', operand: given(value), filter }, scope)
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

const given = (value: Value): Node => ({ type: GIVEN, value })
const bodyOf = (node: Node, part = 'body'): readonly Node[] => (node[part] ?? []) as readonly Node[]
const numeric = (value: Value) => (isTruth(value) ? new IntegerValue(Number(value.value)) : value)
