/** `GET /health`: whether the server takes requests. */
import { ApiError } from '../api-error.js'
import type { Serving } from '../serving.js'

export async function health(_: Request, { visits }: Serving): Promise<Response> {
  if (visits.isClosing) throw new ApiError(503, 'The server is ending.', { code: 'closing', retryAfter: 5 })
  return Response.json({ status: 'ok' })
}
