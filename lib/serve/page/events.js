/** Server-sent events of a streamed answer. */

/**
 * Yields the data of each event of a stream, parsed as JSON, up to `[DONE]`.
 * @param {AsyncIterable<Uint8Array>} bytes
 * @returns {AsyncGenerator<any>}
 */
export async function* eventsIn(bytes) {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const piece of bytes) {
    const events = (rest + decoder.decode(piece, { stream: true })).split('\n\n')
    rest = events.pop() ?? ''
    for (const event of events) {
      const data = event.replace(/^data: /, '')
      if (data === '[DONE]') return
      yield JSON.parse(data)
    }
  }
  throw new Error('The server ended the answer before its end.')
}
