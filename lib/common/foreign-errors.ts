/** Errors of Node.js, V8 and libraries in words for users: what they say themselves is about the inside of a program. */
import { basename } from 'node:path'

/** Too many items, bytes or characters for one value. */
const TOO_LARGE =
  /^Invalid (array|string|typed array|array buffer) length|^Array buffer allocation failed|maximum size exceeded$/

const TOO_DEEP = /^Maximum call stack size exceeded/

/** Memory that C++ or the system did not give. */
const NO_MEMORY = /^std::bad_alloc|^ENOMEM\b/

/** V8's words on what is no JSON, no regular expression and no number. */
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

/** Whether the system gave no more memory. */
export function isOutOfMemory(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOMEM' || code === 'ERR_MEMORY_ALLOCATION_FAILED' || NO_MEMORY.test(error.message)
}

/**
 * Why something failed, as the end of a sentence.
 * @param otherwise what it means where the error is only of use to who mends the program
 */
export function reasonOf(error: unknown, otherwise: string): string {
  if (isOutOfMemory(error)) return 'there is too little memory'
  if (isTooLarge(error)) return 'it is larger than what can be held at a time'
  if (error instanceof RangeError && TOO_DEEP.test(error.message)) return 'it nests too deep'
  if (!(error instanceof Error) || isOfTheProgram(error)) return otherwise
  return error.message.replace(/\.$/, '')
}

function isOfTheProgram(error: Error): boolean {
  if (error instanceof SyntaxError) return NOT_PARSED.test(error.message)
  return error instanceof TypeError || error instanceof RangeError || NOT_DEFINED.test(error.message)
}

/** What is said of a failure that nobody made a sentence of. */
export function foreignFailure(error: unknown): { code: string; message: string } {
  if (isOutOfMemory(error)) {
    const limits = 'limits such as those of "ulimit -v" and of containers count'
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

/** The kind of an error and where it was thrown: enough to tell one fault from another. */
export function placeOf(error: unknown): string {
  const kind = error instanceof Error ? error.name : typeof error
  const [place] = /[^\s(]+:\d+(?=:\d+\)?$)/m.exec((error as Partial<Error> | null)?.stack ?? '') ?? []
  return place === undefined ? kind : `${kind} at ${basename(place)}`
}
