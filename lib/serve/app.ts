/** The server's HTTP routes, with API keys, errors and counts for all of them. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { Hono } from 'hono'
import { speaking } from '../common/option-names.js'
import { clientLeft } from './active-requests.js'
import { ApiError, apiErrorOf } from './api-error.js'
import { clientOf, noteClient } from './clients.js'
import { messageFailure } from './messages/error.js'
import { deleteModel, loadAdapter, unloadAdapter } from './routes/adapters.js'
import { BATCH_ROUTES } from './routes/batches.js'
import { chatCompletions } from './routes/chat-completions.js'
import { completions } from './routes/completions.js'
import { embeddings } from './routes/embeddings.js'
import { FILE_ROUTES } from './routes/files.js'
import { FINE_TUNING_ROUTES } from './routes/fine-tuning.js'
import { GRADER_ROUTES } from './routes/graders.js'
import { countMessageTokens, messages } from './routes/messages.js'
import { pageRoute } from './routes/page.js'
import { responses } from './routes/responses.js'
import { rerank, score } from './routes/scores.js'
import { health, listModels, oneModel, props, showMetrics, version } from './routes/status.js'
import { detokenize, tokenize } from './routes/tokenize.js'
import type { Serving } from './serving.js'

/** Handles a request. */
type Route = (request: Request, serving: Serving) => Promise<Response>

const GET: Readonly<Record<string, Route>> = {
  '/health': health,
  '/metrics': showMetrics,
  '/props': props,
  '/v1/models': listModels,
  '/version': version,
}

const POST: Readonly<Record<string, Route>> = {
  '/v1/completions': completions,
  '/v1/chat/completions': chatCompletions,
  '/v1/responses': responses,
  '/v1/messages': messages,
  '/v1/messages/count_tokens': countMessageTokens,
  '/v1/embeddings': embeddings,
  '/v1/score': score,
  '/score': score,
  '/v1/rerank': rerank,
  '/v2/rerank': rerank,
  '/rerank': rerank,
  '/v1/load_lora_adapter': loadAdapter,
  '/v1/unload_lora_adapter': unloadAdapter,
  '/tokenize': tokenize,
  '/detokenize': detokenize,
}

/** Routes of requests in batches. */
export const BATCH_ENDPOINTS = ['/v1/chat/completions', '/v1/completions', '/v1/embeddings', '/v1/responses']

/** Routes of servers with jobs. */
const JOB_ROUTES = { ...FILE_ROUTES, ...FINE_TUNING_ROUTES, ...GRADER_ROUTES, ...BATCH_ROUTES }

const MODEL = '/v1/models/:name{.+}'

/** Probes of orchestrators have no key, and the page asks for it. */
const WITHOUT_KEY = ['/health', '/']

/** Below a base path, with and without a slash at its end. */
const pageRoutes = (page = pageRoute()) => ({ '/': page, '': page })

/** Accepted API keys: a list, or by the names of clients. */
export type ApiKeys = readonly string[] | Readonly<Record<string, string>>

interface AppOptions {
  /** Prefix of all paths. */
  basePath: string
  /** Accepted API keys, or by the names of their clients; none: no key is needed. */
  apiKeys: ApiKeys
  /** Whether to serve the page. */
  page: boolean
}

export function serverApp(serving: Serving, { basePath, apiKeys, page }: AppOptions): Hono {
  const app = new Hono().basePath(basePath)
  const nameOf = keyCheck(apiKeys)

  const respond = (route: string, request: Request, handler: () => Promise<Response>): Promise<Response> =>
    answered(route, request, serving, async () => {
      if (!WITHOUT_KEY.includes(route)) noteClient(request, nameOf(keyOf(request.headers)))
      return handler()
    })

  const gets = page ? { ...GET, ...pageRoutes() } : GET
  for (const [method, routes] of Object.entries({ GET: gets, POST })) {
    for (const [path, route] of Object.entries(routes)) {
      app.on(method, path, ({ req }) => respond(path || '/', req.raw, () => route(req.raw, serving)))
      app.all(path, ({ req }) => respond(path || '/', req.raw, () => notAllowed(method)))
    }
  }
  for (const [path, routes] of Object.entries(JOB_ROUTES)) {
    const name = path.replace(':id', 'ID')
    for (const [method, route] of Object.entries(routes)) {
      app.on(method, path, ({ req }) =>
        respond(name, req.raw, async () => {
          const { jobs = noJobs(), maxBodyBytes } = serving
          return route(req.raw, jobs, { owner: clientOf(req.raw), id: req.param('id') ?? '', maxBodyBytes })
        }),
      )
    }
    app.all(path, ({ req }) => respond(name, req.raw, () => notAllowed(Object.keys(routes).join(', '))))
  }
  app.get(MODEL, ({ req }) => respond('/v1/models/NAME', req.raw, () => oneModel(req.param('name'), req.raw, serving)))
  app.delete(MODEL, ({ req }) =>
    respond('/v1/models/NAME', req.raw, () => deleteModel(req.param('name'), req.raw, serving)),
  )
  app.all(MODEL, ({ req }) => respond('/v1/models/NAME', req.raw, () => notAllowed('GET, DELETE')))
  app.notFound(({ req }) => respond('other', req.raw, () => notFound(req.path)))
  app.onError((error, { req }) => failure(error, req.raw, serving))
  return app
}

/** Answers a request of the server's own for a client. @param path of a route of models */
export async function answerOwn(
  path: string,
  body: object,
  client: string | null,
  { serving, signal }: { serving: Serving; signal: AbortSignal | undefined },
): Promise<Response> {
  const request = new Request(`http://self${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    ...(signal && { signal }),
  })
  noteClient(request, client)
  return answered(path, request, serving, () => POST[path]!(request, serving))
}

/** Returns the response to a request, or to its error, and counts it. */
async function answered(
  route: string,
  request: Request,
  serving: Serving,
  handler: () => Promise<Response>,
): Promise<Response> {
  let response: Response
  try {
    response = await speaking('fields', handler)
  } catch (error) {
    // Aborted work may end with any error.
    response = failure(request.signal.aborted ? clientLeft() : error, request, serving)
  }
  serving.metrics.countResponse(route, response.status)
  return response
}

function failure(error: unknown, { url }: Request, serving: Serving): Response {
  const known = apiErrorOf(error)
  if (known.status === 500) serving.onError(error)
  return /\/v1\/messages(\/|$)/.test(new URL(url).pathname) ? known.responseOf(messageFailure(known)) : known.response
}

async function notAllowed(method: string): Promise<never> {
  throw new ApiError(405, `Only ${method} is allowed here.`, {
    code: 'method_not_allowed',
    headers: { allow: method },
  })
}

async function notFound(path: string): Promise<never> {
  throw new ApiError(404, `There is no route ${path}.`, { code: 'not_found' })
}

function noJobs(): never {
  throw new ApiError(
    404,
    'This server takes no files and jobs: start it with --jobs FOLDER, or give serve a folder of jobs.',
    {
      code: 'not_found',
    },
  )
}

/** Returns the header with the key; Anthropic's clients have one of their own. */
function keyOf(headers: Headers): string | null {
  const key = headers.get('x-api-key')
  return headers.get('authorization') ?? (key === null ? null : `Bearer ${key}`)
}

/**
 * Returns a check of the header with the key, which returns the name of the key's client, null for keys without names. All keys are
 * compared, in constant time.
 */
function keyCheck(apiKeys: ApiKeys): (header: string | null) => string | null {
  const named: [owner: string | null, key: string][] = Array.isArray(apiKeys)
    ? (apiKeys as readonly string[]).map((key) => [null, key])
    : Object.entries(apiKeys as Readonly<Record<string, string>>)
  if (named.length === 0) return () => null
  const hash = (text: string) => createHash('sha256').update(text).digest()
  const hashes = named.map(([owner, key]) => ({ owner, known: hash(key) }))
  return (header) => {
    const key = /^bearer +(\S+) *$/i.exec(header ?? '')?.[1]
    const fits = key === undefined ? [] : hashes.filter(({ known }) => timingSafeEqual(known, hash(key)))
    if (fits.length > 0) return fits[0]!.owner
    const message =
      key === undefined ? 'Expected an API key in the header Authorization, as "Bearer KEY".' : 'The API key is wrong.'
    throw new ApiError(401, message, { code: 'invalid_api_key', headers: { 'www-authenticate': 'Bearer' } })
  }
}
