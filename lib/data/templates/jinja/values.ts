/** Values of a Jinja program: the library's classes, made from what JavaScript and JSON have. */
import { Environment, Interpreter as PackageInterpreter } from '@huggingface/jinja'
import type { Node } from './node.js'

/** What an expression gives. */
export interface Value<T = unknown> {
  readonly type: string
  readonly value: T
  __bool__(): Value<boolean>
}

export interface Scope {
  readonly variables: Map<string, Value>
  set(name: string, value: unknown): Value
  setVariable(name: string, value: Value): Value
  lookupVariable(name: string): Value
}

type ValueClass<T> = new (value: T) => Value<T>
/** A function gets keyword arguments, where there are any, as its last one. */
export type Callable = (args: Value[], scope: Scope) => Value

// The package's declarations name its files without their endings, so that TypeScript does not find these.
export const NewScope = Environment as unknown as new (parent?: Scope) => Scope

/** A scope inside of another; the package's own constructor fills each with what the outermost has. */
export function innerScope(parent: Scope): Scope {
  return Object.assign(Object.create(NewScope.prototype) as Scope, { variables: new Map(), parent })
}

/** The package does not export its classes, but makes their instances. */
const classOf = (sample: unknown) => new NewScope().set('sample', sample).constructor

export const StringValue = classOf('') as ValueClass<string>
export const IntegerValue = classOf(0) as ValueClass<number>
export const FloatValue = classOf(0.5) as ValueClass<number>
export const BooleanValue = classOf(false) as ValueClass<boolean>
export const NullValue = classOf(null) as new () => Value<null>
export const UndefinedValue = classOf(undefined) as new () => Value<undefined>
export const ArrayValue = classOf([]) as ValueClass<Value[]>
export const ObjectValue = classOf({}) as ValueClass<Map<string, Value>>
export const FunctionValue = classOf(() => null) as ValueClass<Callable>

/** Runs the statements that are the same in Python and the package. */
export const Interpreter = PackageInterpreter as unknown as new (
  scope: Scope,
) => { evaluate(node: Node | undefined, scope: Scope): Value }

export const TupleValue = new Interpreter(new NewScope()).evaluate({ type: 'TupleLiteral', value: [] }, new NewScope())
  .constructor as ValueClass<Value[]>

/** An integer that a float64 does not hold: it is written as it is, and computed with as the nearest float64. */
export class WideInteger extends IntegerValue {
  constructor(readonly exact: bigint) {
    super(Number(exact))
  }
}

export const isKeywords = (value: Value | undefined): value is Value<Map<string, Value>> =>
  value?.type === 'KeywordArgumentsValue'
// `instanceof` of classes whose types are alike narrows to nothing.
export const isText = (value?: Value): value is Value<string> => value instanceof StringValue
export const isTruth = (value?: Value): value is Value<boolean> => value instanceof BooleanValue
export const isInteger = (value?: Value): value is Value<number> => value instanceof IntegerValue
export const isFloat = (value?: Value): value is Value<number> => value instanceof FloatValue
export const isNumber = (value?: Value): value is Value<number> => isInteger(value) || isFloat(value)
export const isNone = (value?: Value): value is Value<null> => value instanceof NullValue
export const isUndefined = (value?: Value): value is Value<undefined> => value instanceof UndefinedValue
export const isTuple = (value?: Value): value is Value<Value[]> => value instanceof TupleValue
/** Tuples too. */
export const isList = (value?: Value): value is Value<Value[]> => value instanceof ArrayValue
export const isMapping = (value?: Value): value is Value<Map<string, Value>> => value instanceof ObjectValue
export const isFunction = (value?: Value): value is Value<Callable> => value instanceof FunctionValue

/** A value of what JSON has, bigints and `Number` objects (floats that are whole) included; maps are objects whose keys keep their order. */
export function toValue(plain: unknown): Value {
  if (typeof plain === 'string') return new StringValue(plain)
  if (typeof plain === 'boolean') return new BooleanValue(plain)
  if (typeof plain === 'bigint') return new WideInteger(plain)
  if (typeof plain === 'number') return Number.isInteger(plain) ? new IntegerValue(plain) : new FloatValue(plain)
  if (plain === null) return new NullValue()
  if (plain instanceof Number) return new FloatValue(plain.valueOf())
  if (Array.isArray(plain)) return new ArrayValue(plain.map(toValue))
  if (typeof plain === 'object') {
    const entries = plain instanceof Map ? [...(plain as Map<string, unknown>)] : Object.entries(plain)
    return new ObjectValue(new Map(entries.map(([key, value]) => [key, toValue(value)])))
  }
  // Functions of plain values are wrapped by the library.
  return new NewScope().set('value', plain)
}

/** A function of values. Positional arguments come as a list, keyword arguments as a map. */
export function functionOf(call: (args: Value[], keywords: Map<string, Value>) => Value): Value {
  return new FunctionValue((given) => {
    const last = given.at(-1)
    return isKeywords(last) ? call(given.slice(0, -1), last.value) : call(given, new Map())
  })
}
