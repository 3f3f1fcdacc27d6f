/** Rewords errors of Node.js, V8 and libraries for users: their own messages are about the inside of a program. */
import { basename } from 'node:path'
import { MoraError, quoted } from './errors.js'
import { shortened } from './printable.js'

/** Messages about too many items, bytes or characters for one value. */
const TOO_LARGE =
  /^Invalid (array|string|typed array|array buffer) length|^Array buffer allocation failed|maximum size exceeded$/

const TOO_DEEP = /^Maximum call stack size exceeded/

/** Messages about memory that C++ or the system could not allocate. */
const NO_MEMORY = /^std::bad_alloc|^ENOMEM\b/

/** V8's messages about invalid JSON, regular expressions and numbers. */
const NOT_PARSED = /\bJSON\b|^Invalid regular expression|BigInt/

const NOT_DEFINED = / is not defined$|before initialization$/

/** Whether a value would be larger than JavaScript or the machine can hold. */
export function isTooLarge(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const { code } = error as NodeJS.ErrnoException
  return (
    code === 'ERR_STRING_TOO_LONG' ||
    code === 'ERR_FS_FILE_TOO_LARGE' ||
    (error instanceof RangeError && TOO_LARGE.test(error.message))
  )
}

/** Whether an allocation of memory failed. */
export function isOutOfMemory(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOMEM' || code === 'ERR_MEMORY_ALLOCATION_FAILED' || NO_MEMORY.test(error.message)
}

/**
 * Returns why something failed, as the end of a sentence.
 * @param otherwise the reason to give if the error's own message would help developers only
 */
export function reasonOf(error: unknown, otherwise: string): string {
  if (isOutOfMemory(error)) return 'there is too little memory'
  if (isTooLarge(error)) return 'it is larger than what can be held at a time'
  if (error instanceof RangeError && TOO_DEEP.test(error.message)) return 'it nests too deep'
  if (!(error instanceof Error) || isOfTheProgram(error)) return otherwise
  return error.message.replace(/\.$/, '')
}

/** The longest message of a function of the caller's that a sentence quotes, in bytes. */
const MOST_OF_A_MESSAGE = 300

/** Returns why a function of the caller's failed, as the end of a sentence: the caller knows what its own errors mean. */
export function reasonOfCaller(error: unknown): string {
  if (!(error instanceof Error)) return quoted(error)
  const message = shortened(error.message.split('\n')[0]!, MOST_OF_A_MESSAGE).replace(/\.$/, '')
  const isNamed = !(error instanceof MoraError) && error.name !== 'Error'
  return [...(isNamed || message === '' ? [error.name] : []), ...(message === '' ? [] : [message])].join(': ')
}

function isOfTheProgram(error: Error): boolean {
  if (error instanceof SyntaxError) return NOT_PARSED.test(error.message)
  return error instanceof TypeError || error instanceof RangeError || NOT_DEFINED.test(error.message)
}

/** Returns the code and message to report for an error that is not this package's. */
export function foreignFailure(error: unknown): { code: string; message: string } {
  if (isOutOfMemory(error)) {
    const limits = 'limits of "ulimit -v" and of containers count'
    const message = `The system gave this process no more memory (${limits}): give it more, or less to do at a time.`
    return { code: 'out-of-memory', message }
  }
  if (isTooLarge(error)) {
    const message = 'Something would be larger than what can be held at a time: give smaller files, rows or sizes.'
    return { code: 'too-large', message }
  }
  const { code } = (error ?? {}) as { code?: unknown }
  const isTold = error instanceof Error && !isOfTheProgram(error)
  return {
    code: typeof code === 'string' ? code.toLowerCase() : 'unexpected',
    message: isTold
      ? error.message
      : `This is a fault of node-mora (${placeOf(error)}), please report it; MORA_DEBUG=1 shows more.`,
  }
}

/** Returns the kind of an error and where it was thrown, which tells one bug from another. */
export function placeOf(error: unknown): string {
  const kind = error instanceof Error ? error.name : typeof error
  const [place] = /[^\s(]+:\d+(?=:\d+\)?$)/m.exec((error as Partial<Error> | null)?.stack ?? '') ?? []
  return place === undefined ? kind : `${kind} at ${basename(place)}`
}
