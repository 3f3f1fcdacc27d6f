/** `GET /health`: whether the server takes requests. */
import type { Serving } from '../serving.js'
import { serverEnds } from '../visits.js'

export async function health(_: Request, { visits }: Serving): Promise<Response> {
  if (visits.isClosing) throw serverEnds()
  return Response.json({ status: 'ok' })
}
