/** Responses as server-sent events. */

import type { ActiveRequest } from './active-requests.js'
import { type ApiError, apiErrorOf } from './api-error.js'

const encoder = new TextEncoder()

/** How a route writes the events of its streams. */
export interface StreamForm {
  /** Whether events are named by their type, and the last one ends the stream; else `[DONE]` does. */
  readonly isNamed: boolean
  /** Returns the event for an error that ends the stream. */
  failure(error: ApiError): object
}

const OF_CHATS: StreamForm = { isNamed: false, failure: ({ body }) => body }

/**
 * Sends events as they come. An error before the first event is thrown, so that the response has its status; a
 * later one is the last event.
 */
export async function eventStream(
  events: AsyncGenerator<object>,
  active: ActiveRequest,
  onError: (error: unknown) => void,
  form = OF_CHATS,
): Promise<Response> {
  const line = (event: object) => {
    const name = form.isNamed && 'type' in event ? `event: ${event.type}\n` : ''
    return encoder.encode(`${name}data: ${JSON.stringify(event)}\n\n`)
  }
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
        if (!done) return controller.enqueue(line(value))
        if (active.wasAborted) throw active.signal.reason
        if (!form.isNamed) controller.enqueue(encoder.encode('data: [DONE]\n\n'))
      } catch (error) {
        if (isCancelled) return
        const failure = apiErrorOf(error)
        if (failure.status === 500) onError(error)
        controller.enqueue(line(form.failure(failure)))
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
