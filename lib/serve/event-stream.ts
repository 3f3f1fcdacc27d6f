/** Responses as server-sent events. */

import type { ActiveRequest } from './active-requests.js'
import { apiErrorOf } from './api-error.js'

const encoder = new TextEncoder()
const line = (data: string) => encoder.encode(`data: ${data}\n\n`)

/**
 * Sends events as they come, and `[DONE]` after the last. An error before the first event is thrown, so that the response has its status; a
 * later one is the last event.
 */
export async function eventStream(
  events: AsyncGenerator<object>,
  active: ActiveRequest,
  onError: (error: unknown) => void,
): Promise<Response> {
  const first = await events.next()
  let pending: Promise<IteratorResult<object>> | undefined = Promise.resolve(first)
  // A client that has stopped reading does not request the next event, which would notice the end.
  active.signal.addEventListener('abort', () => void events.return(undefined))
  let isCancelled = false
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await (pending ?? events.next())
        pending = undefined
        if (isCancelled) return
        if (!done) return controller.enqueue(line(JSON.stringify(value)))
        if (active.wasAborted) throw active.signal.reason
        controller.enqueue(line('[DONE]'))
      } catch (error) {
        if (isCancelled) return
        const failure = apiErrorOf(error)
        if (failure.status === 500) onError(error)
        controller.enqueue(line(JSON.stringify(failure.body)))
      }
      controller.close()
    },
    cancel() {
      isCancelled = true
      active.cancel()
    },
  })
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    },
  })
}
