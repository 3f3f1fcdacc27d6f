import { asMessage, shortened } from './printable.js'

/**
 * Base of every error that this package throws on purpose: one sentence for people and a code for programs. The sentence is one
 * line of at most 2 kB without control characters, even if it quotes files, models or servers.
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

/** Wrong usage, found before work starts: an unknown option or value, a missing file, inputs that do not match. */
export class UsageError extends MoraError {
  override readonly exitCode = 2
  /** Name of the wrong option, as the library spells it; undefined where it is not one option that is wrong. */
  readonly option: string | undefined

  constructor(code: string, message: string, options: ErrorOptions & { option?: string | undefined } = {}) {
    super(code, message, options)
    this.option = options.option
  }
}

/** A file or a row whose content violates its format; the message names the file. */
export class InputError extends MoraError {}

/** A failure during work: out of memory, a non-finite loss, a full disk. */
export class RunError extends MoraError {}

/** Prefixes the message of this package's errors with the path they are about, unless it names it. Returns others unchanged. */
export function about(path: string, error: unknown): unknown {
  return reworded(error, (message) => (message.includes(path) ? message : `${path}: ${message}`))
}

/** Rewords the message of this package's errors. Returns others unchanged. */
export function reworded(error: unknown, words: (message: string) => string): unknown {
  if (!(error instanceof MoraError)) return error
  const message = words(error.message)
  if (message === error.message) return error
  const Kind = error.constructor as new (code: string, message: string, options?: ErrorOptions) => MoraError
  return new Kind(error.code, message, { cause: error, ...(error instanceof UsageError && { option: error.option }) })
}

/** Most bytes of UTF-8 that a message quotes from a text. */
const MOST_OF_A_TEXT = 200

/** Formats a value for a message: JSON, shortened if long. */
export function quoted(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(shortened(value, MOST_OF_A_TEXT))
  if (typeof value === 'number' || typeof value === 'boolean' || value === null || value === undefined)
    return String(value)
  if (typeof value === 'function' || typeof value === 'symbol' || typeof value === 'bigint') return `a ${typeof value}`
  if (!isPlain(value)) return `an object of ${value.constructor?.name || 'an unknown class'}`
  const text = jsonOf(value) ?? 'an object'
  return text.length > 60 ? `${text.slice(0, 57).replace(/\p{Cs}$/u, '')}...` : text
}

/** Whether an object is worth quoting by its content, unlike, for example, a buffer. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || prototype === Object.prototype || prototype === Array.prototype
}

/** Returns undefined for a value that contains itself. */
function jsonOf(value: unknown): string | undefined {
  try {
    return JSON.stringify(value)
  } catch {
    return undefined
  }
}
