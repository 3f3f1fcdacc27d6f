/** What a template knows of the loop that it is in. */
import type { Node } from './node.js'
import { equals } from './operators.js'
import { itemsOf } from './strings.js'
import {
  ArrayValue,
  BooleanValue,
  functionOf,
  IntegerValue,
  ObjectValue,
  type Scope,
  UndefinedValue,
  type Value,
} from './values.js'

export class BreakLoop extends Error {}
export class ContinueLoop extends Error {}

/** Gives a loop's variable, or several, what an item holds. */
export function bind(target: Node, item: Value, scope: Scope): void {
  if (target.type === 'Identifier') {
    scope.setVariable(String(target.value), item)
    return
  }
  const targets = target.value as Node[]
  const items = itemsOf(item)
  if (targets.length !== items.length) {
    throw new Error(`a loop expected ${targets.length} values a round but received ${items.length}`)
  }
  for (const [i, one] of targets.entries()) bind(one, items[i]!, scope)
}

/** `loop.changed`: whether it is given something else than in the round before. */
export function changesOf(): Value {
  let last: Value[] | undefined
  return functionOf((args) => {
    const isSame = last !== undefined && equals(new ArrayValue(last), new ArrayValue(args))
    last = args
    return new BooleanValue(!isSame)
  })
}

export function loopValue(items: readonly Value[], i: number, changed: Value): Value {
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
