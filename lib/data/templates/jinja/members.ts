/** What can be taken out of a value: keys, methods, places and slices. */
import type { Node } from './node.js'
import { equals } from './operators.js'
import { itemsOf, mappingMethod, stringMethod } from './strings.js'
import { str } from './text.js'
import { functionOf, IntegerValue, isInteger, isList, isMapping, isText, StringValue, type Value } from './values.js'

/** The key that stands after a dot. */
export function valueOfName({ type, value }: Node): Value {
  return type === 'IntegerLiteral' ? new IntegerValue(value as number) : new StringValue(value as string)
}

/** A value as a template calls it. */
export function nameOf(node: Node): string {
  if (node.type === 'Identifier') return String(node.value)
  if (node.type !== 'MemberExpression') return 'what is taken apart'
  const property = node.property as Node
  const object = nameOf(node.object as Node)
  return node.computed ? `${object}[${JSON.stringify(property.value ?? '...')}]` : `${object}.${property.value}`
}

/** `object.name` finds methods before keys, `object[key]` keys before methods. */
export function memberOf(object: Value, key: Value, isSubscript: boolean): Value | undefined {
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
export function sliced(
  items: readonly Value[],
  start: number | undefined,
  stop: number | undefined,
  step: number,
): Value[] {
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
