/** Writes the texts of a request beside each other. */
import { ItemQueue } from '../common/item-queue.js'
import type { TextCall, TextPiece, TextWriter, WrittenText } from './text-writer.js'
import type { Visit } from './visits.js'

/** A piece of one of several texts, or its end. */
export type TextEvent =
  | { readonly index: number; readonly piece: TextPiece }
  | { readonly index: number; readonly whole: WrittenText }

/**
 * Yields pieces of all texts as they come, and each text once it is whole. Ends the visit. Texts are written to their end whether or
 * not somebody asks for the next event, and free their places then: a client that does not read keeps nobody else waiting.
 */
export async function* writeTexts(
  writer: TextWriter,
  calls: readonly TextCall[],
  visit: Visit,
): AsyncGenerator<TextEvent> {
  const { signal, used, metrics } = visit
  const events = new ItemQueue<TextEvent, void>()
  let running = calls.length
  const write = async (call: TextCall, index: number) => {
    const text = writer.stream({ ...call, adapters: used.adapters, signal })
    try {
      let next = await text.next()
      for (; !next.done; next = await text.next()) {
        visit.begin()
        events.push({ index, piece: next.value })
      }
      const whole = next.value
      if (whole.finishReason === 'abort') throw signal.reason
      visit.begin()
      metrics.promptTokens += whole.promptTokens
      metrics.newTokens += whole.ids.length
      visit.free()
      events.push({ index, whole })
      if (--running === 0) events.finish()
    } catch (error) {
      events.fail(error)
      // The others end, too, also if nobody asks for events.
      visit.abort(error)
    }
  }
  const writing = calls.map(write)
  try {
    yield* events.read()
  } finally {
    visit.end()
    await Promise.all(writing)
  }
}

/** Returns the texts of a request once all are whole. */
export async function wholeTexts(writer: TextWriter, calls: readonly TextCall[], visit: Visit): Promise<WrittenText[]> {
  const texts: WrittenText[] = []
  for await (const event of writeTexts(writer, calls, visit)) if ('whole' in event) texts[event.index] = event.whole
  return texts
}
