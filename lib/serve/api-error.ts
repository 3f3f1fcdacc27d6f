/** Errors in OpenAI's form. */
import { MoraError, RunError, UsageError } from '../common/errors.js'
import { fieldOf } from '../common/option-names.js'

/** Details of an error beside its message. */
interface ErrorDetails {
  /** The parameter that is wrong. */
  param?: string | undefined
  /** Error code, for programs. */
  code?: string
  /** Seconds after which another attempt makes sense. */
  retryAfter?: number
  /** Further headers. */
  headers?: Readonly<Record<string, string>>
  cause?: unknown
}

/** An error response. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly details: ErrorDetails = {},
  ) {
    super(message, { cause: details.cause })
  }

  /** The body of the response, or of the event that ends a stream. */
  get body(): object {
    const { message, status } = this
    const { param = null, code = null } = this.details
    return { error: { message, type: typeOf(status), param, code } }
  }

  get response(): Response {
    return this.responseOf(this.body)
  }

  responseOf(body: object): Response {
    const { retryAfter, headers } = this.details
    return Response.json(body, {
      status: this.status,
      headers: { ...headers, ...(retryAfter !== undefined && { 'retry-after': String(retryAfter) }) },
    })
  }
}

function typeOf(status: number): string {
  if (status === 429) return 'rate_limit_error'
  return status >= 500 ? 'server_error' : 'invalid_request_error'
}

interface KnownError {
  readonly status: number
  readonly code: string
  readonly retryAfter?: number
  readonly param?: string
  /** Replaces the error's own. */
  readonly message?: string
}

/** Statuses and codes of this package's errors that are not only a wrong request. */
const KNOWN: Readonly<Record<string, KnownError>> = {
  // The request forbids every token: by its constraint, its minimum number of tokens, its words or n-grams.
  'no-token-left': { status: 400, code: 'no-token-left' },
  'prompt-too-long': { status: 400, code: 'context_length_exceeded' },
  'unknown-adapter': { status: 404, code: 'model_not_found', param: 'model' },
  'not-an-adapter': { status: 404, code: 'not-an-adapter', param: 'lora_path' },
  'repository-not-found': { status: 404, code: 'repository-not-found', param: 'lora_path' },
  'revision-not-found': { status: 404, code: 'revision-not-found', param: 'lora_path' },
  'file-not-found': { status: 404, code: 'file-not-found', param: 'lora_path' },
  'hub-unreachable': { status: 502, code: 'hub-unreachable' },
  'hub-error': { status: 502, code: 'hub-error' },
  'rate-limited': { status: 502, code: 'hub-error' },
  'download-cut': { status: 502, code: 'hub-error' },
  'damaged-download': { status: 502, code: 'hub-error' },
  'in-training': { status: 409, code: 'in-training' },
  'too-little-memory': { status: 503, code: 'overloaded', retryAfter: 5 },
  'unknown-job': { status: 404, code: 'not_found' },
  'unknown-batch': { status: 404, code: 'not_found' },
  'unknown-file': { status: 404, code: 'not_found' },
  'job-runs': { status: 409, code: 'job-runs' },
  'too-many-jobs': { status: 429, code: 'rate_limit_exceeded', retryAfter: 60 },
  // The error's own message names a folder of the server.
  'disk-full': { status: 507, code: 'disk-full', message: 'The disk of the server has too little space for this.' },
  closed: { status: 503, code: 'closing', retryAfter: 5 },
  'out-of-memory': { status: 503, code: 'overloaded', retryAfter: 5 },
}

/** Returns the response to any error. A wrong request keeps its message; an internal failure is not described to clients. */
export function apiErrorOf(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  if (error instanceof MoraError) {
    const known = KNOWN[error.code]
    if (known) return new ApiError(known.status, known.message ?? error.message, { ...known, cause: error })
    const param = error instanceof UsageError && error.option !== undefined ? fieldOf(error.option) : undefined
    if (!(error instanceof RunError)) return new ApiError(400, error.message, { code: error.code, param, cause: error })
  }
  return new ApiError(500, 'The server failed; its log says why.', { code: 'internal_error', cause: error })
}
