/** Filters, as Jinja and transformers have them: those that the library does not have, or has otherwise. */
import { formatted, testOf } from './operators.js'
import { capitalize, itemsOf, pairsOf, replace, strip, titleCase } from './strings.js'
import { json, str } from './text.js'
import {
  ArrayValue,
  IntegerValue,
  isInteger,
  isList,
  isMapping,
  isNone,
  isText,
  isUndefined,
  StringValue,
  UndefinedValue,
  type Value,
} from './values.js'

export interface FilterCall {
  value: Value
  args: Value[]
  keywords: Map<string, Value>
  /** Another filter by name, for `map`. */
  apply(name: string, value: Value, args: Value[]): Value
}

type Filter = (call: FilterCall) => Value

const text = (value: string) => new StringValue(value)
const list = (values: Value[]) => new ArrayValue(values)
const ofText =
  (change: (value: string) => string): Filter =>
  ({ value }) =>
    text(change(str(value)))

export const filters: Readonly<Record<string, Filter>> = {
  string: ofText((value) => value),
  safe: ({ value }) => value,
  upper: ofText((value) => value.toUpperCase()),
  lower: ofText((value) => value.toLowerCase()),
  capitalize: ofText(capitalize),
  title: ofText(titleCase),
  trim: ({ value, args, keywords }) => {
    const characters = args[0] ?? keywords.get('chars')
    return text(strip(str(value), characters && !isNone(characters) ? str(characters) : undefined))
  },
  replace: ({ value, args: [old, by, count] }) =>
    text(replace(str(value), str(old!), str(by!), isInteger(count) ? count.value : undefined)),
  format: ({ value, args }) => text(formatted(str(value), args)),
  tojson: ({ value, args, keywords }) => text(tojson(value, args, keywords)),
  default: orDefault,
  d: orDefault,
  length: ({ value }) => new IntegerValue(lengthOf(value)),
  count: ({ value }) => new IntegerValue(lengthOf(value)),
  list: ({ value }) => list([...itemsOf(value)]),
  first: ({ value }) => itemsOf(value)[0] ?? new UndefinedValue(),
  last: ({ value }) => itemsOf(value).at(-1) ?? new UndefinedValue(),
  reverse: ({ value }) =>
    isText(value) ? text([...value.value].reverse().join('')) : list([...itemsOf(value)].reverse()),
  items: ({ value }) => {
    if (isUndefined(value)) return list([])
    if (isMapping(value)) return pairsOf(value.value)
    throw new Error(`items was asked of ${str(value)}, which is no mapping`)
  },
  join: ({ value, args, keywords }) => {
    const attribute = args[1] ?? keywords.get('attribute')
    const items = itemsOf(value).map((item) => str(attribute ? attributeOf(item, attribute) : item))
    return text(items.join(str(args[0] ?? keywords.get('d') ?? text(''))))
  },
  map: ({ value, args, keywords, apply }) => {
    const attribute = keywords.get('attribute')
    const fallback = keywords.get('default')
    if (!attribute) return list(itemsOf(value).map((item) => apply(str(args[0]!), item, args.slice(1))))
    return list(
      itemsOf(value).map((item) => {
        const found = attributeOf(item, attribute)
        return isUndefined(found) ? (fallback ?? found) : found
      }),
    )
  },
  select: chosen(true, false),
  reject: chosen(false, false),
  selectattr: chosen(true, true),
  rejectattr: chosen(false, true),
}

function chosen(wanted: boolean, byAttribute: boolean): Filter {
  return ({ value, args }) => {
    const attribute = byAttribute ? args[0] : undefined
    const [name, ...others] = byAttribute ? args.slice(1) : args
    const test = name ? testOf(str(name)) : (item: Value) => item.__bool__().value
    const isChosen = (item: Value) => test(attribute ? attributeOf(item, attribute) : item, ...others) === wanted
    return list(itemsOf(value).filter(isChosen))
  }
}

function orDefault({ value, args, keywords }: FilterCall): Value {
  const fallback = args[0] ?? keywords.get('default_value') ?? text('')
  const alsoFalse = (args[1] ?? keywords.get('boolean'))?.__bool__().value
  return isUndefined(value) || (alsoFalse && !value.__bool__().value) ? fallback : value
}

/** In characters, of a text. */
function lengthOf(value: Value): number {
  if (!isText(value)) return isMapping(value) ? value.value.size : itemsOf(value).length
  let characters = 0
  for (const _ of value.value) characters++
  return characters
}

/** An attribute by its name or its path, such as `a.b` and `0.a`. */
function attributeOf(value: Value, path: Value): Value {
  let found = value
  for (const part of str(path).split('.')) {
    const next = isMapping(found) ? found.value.get(part) : isList(found) ? found.value[Number(part)] : undefined
    found = next ?? new UndefinedValue()
  }
  return found
}

/** As transformers has it: no HTML escapes, and no ASCII only unless asked for. */
function tojson(value: Value, args: readonly Value[], keywords: ReadonlyMap<string, Value>): string {
  const given = (position: number, name: string) => {
    const found = args[position] ?? keywords.get(name)
    return isNone(found) ? undefined : found
  }
  const indent = given(1, 'indent')
  const separators = given(2, 'separators')
  return json(value, {
    asciiOnly: given(0, 'ensure_ascii')?.__bool__().value ?? false,
    indent: isInteger(indent) ? indent.value : undefined,
    separators: separators ? (itemsOf(separators).map((one) => str(one)) as [string, string]) : undefined,
    sortsKeys: given(3, 'sort_keys')?.__bool__().value ?? false,
  })
}
