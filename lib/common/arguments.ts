/** Arguments of public functions: one of the wrong kind is refused by its name, before anything is done with it. */
import { quoted, UsageError } from './errors.js'

/** What an argument has to be. */
export interface Kind {
  /** Follows "Expected". */
  readonly expects: string
  fits(value: unknown): boolean
}

const kind = (expects: string, fits: (value: unknown) => boolean): Kind => ({ expects, fits })

/** An object that holds things by name: no list, typed array, map, date or the like. */
export const isObject = (value: unknown): value is Record<string, unknown> =>
  Object.prototype.toString.call(value) === '[object Object]'

export const aText = kind('a non-empty text', (value) => typeof value === 'string' && value !== '')
export const anyText = kind('a text', (value) => typeof value === 'string')
export const aFlag = kind('true or false', (value) => typeof value === 'boolean')
export const aFunction = kind('a function', (value) => typeof value === 'function')
export const aSignal = kind('an AbortSignal', (value) => value instanceof AbortSignal)
export const anObject = kind('an object', isObject)
export const aNumber = kind('a finite number', Number.isFinite)
export const texts = kind('a list of texts', (value) => Array.isArray(value) && value.every(aText.fits))
export const float32s = kind('a Float32Array', (value) => value instanceof Float32Array)

export const atLeast = (least: number): Kind =>
  kind(`a finite number of at least ${least}`, (value) => Number.isFinite(value) && (value as number) >= least)

export const wholeFrom = (least: number): Kind =>
  kind(`a whole number of at least ${least}`, (value) => Number.isSafeInteger(value) && (value as number) >= least)

export const wholeBetween = (least: number, most: number): Kind =>
  kind(
    `a whole number from ${least} to ${most}`,
    (value) => Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most,
  )

/** A list or a typed array of whole numbers, as token ids are. */
export const wholes = kind('a list of whole numbers', (value) => isListOf(value, Number.isSafeInteger))

export const listOf = (one: Kind, plural: string): Kind =>
  kind(`a list of ${plural}`, (value) => Array.isArray(value) && value.every(one.fits))

export const instanceOf = (Class: abstract new (...args: never[]) => unknown, expects: string): Kind =>
  kind(expects, (value) => value instanceof Class)

export const oneOf = (...words: readonly string[]): Kind =>
  kind(`one of ${words.join(', ')}`, (value) => words.includes(value as string))

/** An object with these methods and properties, whatever its class. */
export const having = (expects: string, ...names: readonly (string | symbol)[]): Kind =>
  kind(expects, (value) => typeof value === 'object' && value !== null && names.every((name) => name in value))

/** A kind whose values errors describe in other words. */
export const described = ({ fits }: Kind, expects: string): Kind => kind(expects, fits)

export const either = (...kinds: readonly Kind[]): Kind =>
  kind(kinds.map(({ expects }) => expects).join(' or '), (value) => kinds.some(({ fits }) => fits(value)))

export const optional = ({ expects, fits }: Kind): Kind => kind(expects, (value) => value === undefined || fits(value))

export const orNull = ({ expects, fits }: Kind): Kind =>
  kind(`${expects} or null`, (value) => value === null || fits(value))

/** @throws UsageError `bad-value` that names the argument */
export function requireArgument(name: string, value: unknown, { expects, fits }: Kind): void {
  if (fits(value)) return
  throw new UsageError('bad-value', `Expected ${expects} for ${name} but received ${quoted(value)}.`)
}

/**
 * Checks an object of options, and of those that are named the kinds. Others are left to whoever knows them.
 * @throws UsageError `bad-value` that names the option
 */
export function requireOptionsOf(name: string, options: unknown, kinds: Readonly<Record<string, Kind>>): void {
  requireArgument(name, options, anObject)
  for (const [key, wanted] of Object.entries(kinds))
    requireArgument(key, (options as Record<string, unknown>)[key], wanted)
}

function isListOf(value: unknown, fits: (one: unknown) => boolean): boolean {
  if (Array.isArray(value)) return value.every(fits)
  return (
    value instanceof Int32Array ||
    value instanceof Uint32Array ||
    value instanceof Uint16Array ||
    value instanceof Uint8Array
  )
}
