import { asMessage, shortened } from './printable.js'

/**
 * Base of every error that this package raises on purpose: one sentence for a person and a code for a script. The sentence has
 * one line of at most 2 kB and no control characters, whatever files, models and servers brought into it.
 */
export class MoraError extends Error {
  /** Exit code of the command line. */
  readonly exitCode: 1 | 2 = 1

  constructor(
    /** Stable, in kebab-case: `missing-file`, `malformed-file`, `non-finite`, ... */
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(asMessage(message), options)
    this.name = new.target.name
  }
}

/** Wrong usage, found before work starts: an unknown option or value, a missing file, things that do not fit together. */
export class UsageError extends MoraError {
  override readonly exitCode = 2
}

/** A file or a row whose content is not what its format says; the message names the file. */
export class InputError extends MoraError {}

/** What failed while working: out of memory, a non-finite loss, a full disk. */
export class RunError extends MoraError {}

/** The same error, its sentence behind the path of what it is about, unless that is named in it. Others are left as they are. */
export function about(path: string, error: unknown): unknown {
  return reworded(error, (message) => (message.includes(path) ? message : `${path}: ${message}`))
}

/** The same error with other words; errors that were not raised on purpose are left as they are. */
export function reworded(error: unknown, words: (message: string) => string): unknown {
  if (!(error instanceof MoraError)) return error
  const message = words(error.message)
  if (message === error.message) return error
  const Kind = error.constructor as new (code: string, message: string, options?: ErrorOptions) => MoraError
  return new Kind(error.code, message, { cause: error })
}

/** Most bytes of UTF-8 that a message quotes of a text. */
const MOST_OF_A_TEXT = 200

/** A value as a message quotes it: JSON, cut where it is long. */
export function quoted(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(shortened(value, MOST_OF_A_TEXT))
  if (typeof value === 'number' || typeof value === 'boolean' || value === null || value === undefined)
    return String(value)
  if (typeof value === 'function' || typeof value === 'symbol' || typeof value === 'bigint') return `a ${typeof value}`
  if (!isPlain(value)) return `an object of ${classOf(value)}`
  const text = jsonOf(value) ?? 'an object'
  return text.length > 60 ? `${text.slice(0, 57).replace(/\p{Cs}$/u, '')}...` : text
}

/** Whether the content of an object says something; that of others, as a buffer with a whole file, would not. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype || prototype === Array.prototype
}

function classOf(value: object): string {
  const name: unknown = value.constructor?.name
  return typeof name === 'string' && name !== '' ? name : 'an unknown class'
}

/** Undefined of what contains itself. */
function jsonOf(value: unknown): string | undefined {
  try {
    return JSON.stringify(value)
  } catch {
    return undefined
  }
}
