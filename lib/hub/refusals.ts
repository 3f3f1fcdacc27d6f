/** Turns the hub's answers into error messages that say what to do. */
import { type MoraError, RunError, UsageError } from '../common/errors.js'
import { shortened } from '../common/printable.js'
import { PassingFailure } from './retry.js'

/** The requested thing, for messages. */
export interface Subject {
  readonly kind: 'model' | 'dataset'
  /** `owner/name`. */
  readonly repository: string
  readonly revision: string
  /** One file of it; null: the repository itself. */
  readonly file: string | null
  readonly endpoint: string
}

type Answer = Pick<Response, 'status' | 'headers'>

/** Returns a subject's name, such as `the model owner/name` or `the file x of the data set owner/name`. */
export function nameOf({ kind, repository, file }: Subject): string {
  const whole = `the ${kind === 'model' ? 'model' : 'data set'} ${repository}`
  return file === null ? whole : `the file ${file} of ${whole}`
}

/** Makes the error for an unsuccessful answer. */
export function refusal(answer: Answer, subject: Subject): MoraError | PassingFailure {
  const { status, headers } = answer
  const reason = headers.get('x-error-code')
  const passing = passingFailure(answer, 'deliver', nameOf(subject))
  if (passing) return passing
  if (reason === 'GatedRepo') return gated(subject)
  if (status === 401 && /credential|token/i.test(headers.get('x-error-message') ?? '')) {
    return badToken(', or remove it to connect without one')
  }
  if (reason === 'RevisionNotFound') return noRevision(subject)
  if (status === 404 && (reason === 'EntryNotFound' || subject.file !== null)) return noFile(subject)
  if (status === 401 || status === 404) return noRepository(subject)
  if (status === 403) return forbidden(answer, subject)
  return new RunError(
    'hub-error',
    `The hub answered ${status} when asked for ${nameOf(subject)}${quotedMessage(headers)}.`,
  )
}

/**
 * Makes the error for an unsuccessful answer to an upload.
 * @param host the storage that answered, if it was not the hub
 * @param said the error message in the body
 */
export function refusalToTake(
  answer: Answer,
  subject: Subject,
  { host, said }: { host: string | null; said: string },
): MoraError | PassingFailure {
  const { status, headers } = answer
  const passing = passingFailure(answer, 'take', nameOf(subject), host ?? 'The hub')
  if (passing) return passing
  const message = quotedMessage(headers, said)
  if (host !== null) {
    return new RunError('hub-error', `${host} answered ${status} to ${nameOf(subject)}${message}: push again.`)
  }
  const reason = headers.get('x-error-code')
  if (reason === 'RevisionNotFound') return noRevision(subject)
  const { repository, endpoint } = subject
  if (status === 404 || reason === 'RepoNotFound') {
    return new UsageError(
      'repository-not-found',
      `There is no model ${repository} at ${endpoint} that the token may see.`,
    )
  }
  if (status === 401) return badToken()
  if (status === 403) {
    return new UsageError(
      'forbidden',
      `The hub forbids writing to ${nameOf({ ...subject, file: null })} (403)${message}: use a token with write access (HF_TOKEN or "hf auth login").`,
    )
  }
  if (status === 409) {
    return new RunError(
      'push-conflict',
      `The hub reports a conflict (409) for ${nameOf(subject)}${message}: push again.`,
    )
  }
  return new RunError('hub-error', `The hub does not take ${nameOf(subject)} (${status})${message}.`)
}

/** Returns a failure that may be temporary; else null. */
function passingFailure(
  { status, headers }: Answer,
  doing: 'deliver' | 'take',
  name: string,
  who = 'The hub',
): PassingFailure | null {
  const wait = secondsToWait(headers)
  if (status === 429) {
    return new PassingFailure('rate-limited', `The hub's rate limit (429) blocked the request for ${name}`, { wait })
  }
  if (status !== 408 && status < 500) return null
  return new PassingFailure('hub-error', `${who} failed (${status}) to ${doing} ${name}`, { wait })
}

function badToken(alternative = ''): UsageError {
  return new UsageError(
    'bad-token',
    `The hub does not accept the token (401): renew it (HF_TOKEN or "hf auth login")${alternative}.`,
  )
}

function gated(subject: Subject): UsageError {
  const { endpoint, kind, repository } = subject
  const page = `${endpoint}/${kind === 'dataset' ? 'datasets/' : ''}${repository}`
  return new UsageError(
    'gated-repository',
    `Access to ${nameOf({ ...subject, file: null })} must be requested at ${page}; then use a token of that account (HF_TOKEN or "hf auth login").`,
  )
}

function noRevision(subject: Subject): UsageError {
  const { revision } = subject
  const whole = capital(nameOf({ ...subject, file: null }))
  return new UsageError('revision-not-found', `${whole} has no branch, tag or commit "${revision}".`)
}

function noFile(subject: Subject): UsageError {
  const whole = capital(nameOf({ ...subject, file: null }))
  return new UsageError('file-not-found', `${whole} has no file "${subject.file}" at revision ${subject.revision}.`)
}

function noRepository({ kind, repository, endpoint }: Subject): UsageError {
  const what = kind === 'model' ? 'a model' : 'a data set'
  return new UsageError(
    'repository-not-found',
    `"${repository}" is neither a file or folder here nor ${what} at ${endpoint}: check the path or id; a private one needs a token (HF_TOKEN or "hf auth login").`,
  )
}

function forbidden({ headers }: Answer, subject: Subject): UsageError {
  return new UsageError(
    'forbidden',
    `The hub forbids ${nameOf(subject)} (403)${quotedMessage(headers)}: use a token with read access (HF_TOKEN or "hf auth login").`,
  )
}

/** Quotes the server's message on one short line. */
function quotedMessage(headers: Headers, said = ''): string {
  const message = (headers.get('x-error-message') ?? said).replace(/[^\x20-\x7e]+/g, ' ').trim()
  return message === '' ? '' : `, saying "${shortened(message, 200)}"`
}

/** Returns the seconds of `Retry-After`, which may also be a date. */
function secondsToWait(headers: Headers): number | null {
  const text = headers.get('retry-after')?.trim()
  if (!text) return null
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000
  return Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : null
}

/** Capitalises the start of a sentence. */
export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
