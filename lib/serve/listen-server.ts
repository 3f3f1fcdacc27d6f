/** A server of its own for a model, as `mora serve` runs it. */
import { createServer } from 'node:http'
import { isLoopback, isOwnHost, listen } from '../common/listen.js'
import { ApiError, apiErrorOf } from './api-error.js'
import type { ModelServer } from './serve.js'

/** Milliseconds within which a request has to arrive, and one that may be a large file. */
const REQUEST_TIME = 60_000
const UPLOAD_TIME = 3_600_000
/** Milliseconds for which an idle connection stays open: longer than clients expect. */
const IDLE_TIME = 65_000
/** Milliseconds within which complete responses have to be read at the end. */
const LAST_TIME = 1000

interface ListenOptions {
  host: string
  /** 0 for any free port. */
  port: number
  /** Whether clients need a key. */
  hasKey: boolean
  /** Whether clients may upload files. */
  takesFiles?: boolean
}

/** @throws what `listen` throws */
export async function listenServer(
  server: ModelServer,
  { host, port, hasKey, takesFiles = false }: ListenOptions,
): Promise<Awaited<ReturnType<typeof listen>> & { close(): Promise<void> }> {
  const respond = async (request: Request): Promise<Response> => {
    // With a key, other pages of a browser cannot send requests, whatever the name.
    if (hasKey || !isLoopback(host)) return server.fetch(request)
    const asked = request.headers.get('host') ?? undefined
    if (!isOwnHost(asked, host)) return otherHost().response
    const origin = request.headers.get('origin')
    // Browsers send forms, such as uploads, to other sites without asking them.
    return origin === null || origin === `http://${asked}` ? server.fetch(request) : otherOrigin().response
  }
  // Loaded here, since only a server of its own needs it.
  const { getRequestListener } = await import('@hono/node-server')
  const listener = getRequestListener(respond, {
    overrideGlobalObjects: false,
    errorHandler: (error) => new ApiError(400, 'The request is malformed.', { cause: apiErrorOf(error) }).response,
  })
  const requestTimeout = takesFiles ? UPLOAD_TIME : REQUEST_TIME
  const http = createServer({ requestTimeout, headersTimeout: REQUEST_TIME, keepAliveTimeout: IDLE_TIME }, listener)
  const listening = await listen(http, host, port, 'server')
  return {
    ...listening,
    async close() {
      await server.close()
      const closed = new Promise<void>((resolve) => http.close(() => resolve()))
      http.closeIdleConnections()
      const timer = setTimeout(() => http.closeAllConnections(), LAST_TIME)
      await closed
      clearTimeout(timer)
    },
  }
}

const otherOrigin = () =>
  new ApiError(403, 'Pages of other origins cannot ask this server, unless it is started with an API key.', {
    code: 'wrong_origin',
  })

const otherHost = () =>
  new ApiError(403, 'Unknown Host header: use the server’s address, or start the server with an API key.', {
    code: 'wrong_host',
  })
