/** Returns a copy of plain data, in all its depth; what is neither a list nor a plain object is the same in both. */
export function plainCopy<Value>(value: Value): Value {
  if (Array.isArray(value)) return value.map(plainCopy) as Value
  if (typeof value !== 'object' || value === null) return value
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== null && prototype !== Object.prototype) return value
  return Object.fromEntries(Object.entries(value).map(([key, own]) => [key, plainCopy(own)])) as Value
}
