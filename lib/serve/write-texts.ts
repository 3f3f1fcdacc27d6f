/** Writes the texts of a request beside each other. */
import type { TextCall, TextPiece, TextWriter, WrittenText } from './text-writer.js'
import type { Visit } from './visits.js'

/** A piece of one of several texts, or its end. */
export type TextEvent =
  | { readonly index: number; readonly piece: TextPiece }
  | { readonly index: number; readonly whole: WrittenText }

/** Yields pieces of all texts as they come, and each text once it is whole. Ends the visit. */
export async function* writeTexts(
  writer: TextWriter,
  calls: readonly TextCall[],
  visit: Visit,
): AsyncGenerator<TextEvent> {
  const { signal, used, metrics } = visit
  const texts = calls.map((call) => writer.stream({ ...call, adapters: used.adapters, signal }))
  const next = (index: number) => texts[index]!.next().then((result) => ({ index, result }))
  const pending = new Map(texts.map((_, index) => [index, next(index)]))
  try {
    while (pending.size > 0) {
      const { index, result } = await Promise.race(pending.values())
      visit.begin()
      if (result.done) {
        const whole = result.value
        if (whole.finishReason === 'abort') throw signal.reason
        pending.delete(index)
        metrics.promptTokens += whole.promptTokens
        metrics.newTokens += whole.ids.length
        yield { index, whole }
      } else {
        pending.set(index, next(index))
        yield { index, piece: result.value }
      }
    }
  } finally {
    visit.end()
    await Promise.allSettled([...pending.values(), ...texts.map((text) => text.return(undefined as never))])
  }
}

/** Returns the texts of a request once all are whole. */
export async function wholeTexts(writer: TextWriter, calls: readonly TextCall[], visit: Visit): Promise<WrittenText[]> {
  const texts: WrittenText[] = []
  for await (const event of writeTexts(writer, calls, visit)) if ('whole' in event) texts[event.index] = event.whole
  return texts
}
