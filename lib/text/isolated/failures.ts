/** Errors of requests that the isolated process did not answer. */
import { InputError, RunError } from '../../common/errors.js'
import { reasonOf } from '../../common/foreign-errors.js'
import { MEBIBYTES, templateSeconds } from './limits.js'
import type { Request } from './requests.js'

/** A request, with the names of its template and tokenizer for errors. */
export interface Named {
  readonly request: Request
  readonly origins: { readonly template?: string; readonly tokenizer?: string }
}

export function noProcess(reason: string, cause?: unknown): RunError {
  const sentence = `The child process for chat templates and tokenizers cannot be started (${reason}).`
  return new RunError('no-process', sentence, { cause })
}

export function notSent({ origins, request }: Named, cause: unknown): InputError {
  const reason =
    cause instanceof RangeError
      ? reasonOf(cause, 'it is too large')
      : 'it holds a value that is not data, such as a function'
  return 'template' in request
    ? new InputError(
        'template-failed',
        `The chat template of ${origins.template} cannot be given this conversation: ${reason}.`,
        { cause },
      )
    : new InputError('tokenizer-failed', `The tokenizer of ${origins.tokenizer} cannot be given this: ${reason}.`, {
        cause,
      })
}

/** Returns the error of a request whose process was ended by another program at every attempt. */
export function endedFromOutside({ origins }: Named, reason: string): RunError {
  const what = origins.template ? `The chat template of ${origins.template}` : `The tokenizer of ${origins.tokenizer}`
  const sentence = `${what} has no answer, because something else ended its process each time it was tried (${reason}); too little memory for all processes is the usual cause.`
  return new RunError('process-ended', sentence)
}

/** Returns the error of a request that ended the process, by the process's signal. */
export function failed({ origins, request }: Named, reason: string, isEncoding: boolean): InputError {
  const ended = `(its process ended: ${reason})`
  if ('template' in request && !isEncoding) {
    const seconds = templateSeconds(request.messages.length)
    const excess = reason === 'SIGALRM' ? `time than ${seconds} s` : `memory than ${MEBIBYTES} MiB`
    const sentence = `The chat template of ${origins.template} takes more ${excess} for a conversation ${ended}.`
    return new InputError('template-failed', sentence)
  }
  const asks = 'template' in request ? 'encoded' : request.asks
  const what = { added: 'be used', encoded: 'encode this text', decoded: 'decode these ids' }[asks]
  const why =
    { SIGALRM: 'it takes too much time', SIGKILL: 'it takes too much memory' }[reason] ??
    'one of its regular expressions backtracks too much, or its parts contradict each other'
  return new InputError('tokenizer-failed', `The tokenizer of ${origins.tokenizer} cannot ${what}: ${why} ${ended}.`)
}
