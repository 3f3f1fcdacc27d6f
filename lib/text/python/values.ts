/** Values of a template, with Python's truth, equality, order and arguments. */

/**
 * A value. An integer is a bigint and a float a number, so that 2 and 2.0 stay apart. Nothing in a template changes a list or
 * a mapping.
 */
export type Value =
  | undefined
  | null
  | boolean
  | bigint
  | number
  | string
  | Value[]
  | Map<Value, Value>
  | Callable
  | Attributes

export type Callable = (args: Value[], keywords: ReadonlyMap<string, Value>) => Value

/** An object with attributes: `loop`, or a namespace, whose attributes can be set. */
export class Attributes {
  constructor(
    readonly get: (name: string) => Value,
    readonly set?: (name: string, value: Value) => void,
  ) {}
}

export class Tuple extends Array<Value> {
  /** `map`, `slice` and the like return lists. */
  static override get [Symbol.species]() {
    return Array
  }
}

export const tuple = (items: Iterable<Value>): Value[] => Tuple.from(items)

/** Converts JSON's values, bigints, `Number` objects (whole floats) and maps (mappings whose keys keep their order). */
export function toValue(plain: unknown): Value {
  if (typeof plain === 'string' || typeof plain === 'boolean' || typeof plain === 'bigint') return plain
  if (typeof plain === 'number') return Number.isInteger(plain) ? BigInt(plain) : plain
  if (typeof plain !== 'object') return undefined
  if (plain === null) return null
  if (plain instanceof Number) return plain.valueOf()
  if (Array.isArray(plain)) return plain.map(toValue)
  const entries: Iterable<[unknown, unknown]> = plain instanceof Map ? plain : Object.entries(plain)
  const mapping = new Map<Value, Value>()
  for (const [key, value] of entries) mapping.set(toValue(key), toValue(value))
  return mapping
}

/** Names the type of a value in errors. */
export function typeName(value: Value): string {
  if (value === undefined) return 'something not defined'
  if (value === null) return 'none'
  if (typeof value === 'string') return 'a string'
  if (typeof value === 'boolean') return 'a boolean'
  if (typeof value === 'bigint') return 'an integer'
  if (typeof value === 'number') return 'a float'
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return value instanceof Tuple ? 'a tuple' : 'a list'
  return value instanceof Map ? 'a mapping' : 'a namespace'
}

/** Python's `bool`. */
export function isTrue(value: Value): boolean {
  if (Array.isArray(value)) return value.length > 0
  if (value instanceof Map) return value.size > 0
  return Number.isNaN(value) || Boolean(value)
}

/** Returns the items of a loop over a value: a string's characters, a mapping's keys, none for an undefined value. */
export function itemsOf(value: Value): Value[] {
  if (Array.isArray(value)) return value
  if (typeof value === 'string') return [...value]
  if (value instanceof Map) return [...value.keys()]
  if (value === undefined) return []
  throw new Error(`expected a list, a mapping or a string but received ${typeName(value)}`)
}

/** Returns a number, or a boolean as one; undefined for other values. */
export function numberOf(value: Value): bigint | number | undefined {
  if (typeof value === 'boolean') return value ? 1n : 0n
  return typeof value === 'bigint' || typeof value === 'number' ? value : undefined
}

/** Python's `==`. */
export function equals(a: Value, b: Value): boolean {
  if (a === b) return !Number.isNaN(a)
  const [x, y] = [numberOf(a), numberOf(b)]
  if (x !== undefined && y !== undefined) return x <= y && x >= y
  if (Array.isArray(a) && Array.isArray(b)) {
    const alike = a instanceof Tuple === b instanceof Tuple && a.length === b.length
    return alike && a.every((item, i) => equals(item, b[i]))
  }
  if (a instanceof Map && b instanceof Map) {
    return a.size === b.size && [...a].every(([key, item]) => b.has(key) && equals(item, b.get(key)))
  }
  return false
}

/** Python's `<`. */
export function isLess(a: Value, b: Value): boolean {
  const [x, y] = [numberOf(a), numberOf(b)]
  if (x !== undefined && y !== undefined) return x < y
  if (typeof a === 'string' && typeof b === 'string') return a < b
  if (Array.isArray(a) && Array.isArray(b) && a instanceof Tuple === b instanceof Tuple) {
    const differs = a.findIndex((item, i) => i >= b.length || !equals(item, b[i]))
    return differs < 0 ? a.length < b.length : differs < b.length && isLess(a[differs], b[differs])
  }
  throw new Error(`${typeName(a)} and ${typeName(b)} cannot be compared`)
}

/**
 * Returns arguments in the order of a function's parameters.
 * @param parameters names with spaces between them; `*` stands for a list of all further positional arguments, and those after
 * it are given by name only
 */
export function bind(parameters: string, args: Value[], keywords: ReadonlyMap<string, Value>): Value[] {
  const names = parameters === '' ? [] : parameters.split(' ')
  const rest = names.indexOf('*')
  const positional = rest < 0 ? names.length : rest
  if (rest < 0 && args.length > positional) {
    throw new Error(`expected at most ${positional} arguments but received ${args.length}`)
  }
  for (const name of keywords.keys()) {
    if (!names.includes(name)) throw new Error(`expected no argument with the name ${name}`)
  }
  return names.map((name, i) => {
    if (i === rest) return args.slice(rest)
    return i < Math.min(positional, args.length) ? args[i] : keywords.get(name)
  })
}

/** Makes a function from its parameters' names, with spaces between them. */
export function callable(parameters: string, call: (...args: Value[]) => Value): Callable {
  return (args, keywords) => call(...bind(parameters, args, keywords))
}

/** @throws Error if it is not a string */
export function stringOf(value: Value): string {
  if (typeof value === 'string') return value
  throw new Error(`expected a string but received ${typeName(value)}`)
}

/** Returns an integer as an index or count; undefined for `none` and undefined. @throws Error for other values */
export function indexOf(value: Value): number | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value === 'bigint' || typeof value === 'boolean') return Number(value)
  throw new Error(`expected an integer but received ${typeName(value)}`)
}
