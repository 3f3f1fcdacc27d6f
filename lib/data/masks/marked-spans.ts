/** Finds the spans of a conversation that a template marks by `{% generation %}`. */
import type { Piece } from '../templates/program.js'
import type { AnswerSpan } from './turn-texts.js'

/** Spans between marks, in order, and the message that wrote each; undefined outside of loops over messages. */
type MarkedSpan = AnswerSpan & { message: number | undefined }

export function markedSpans(pieces: readonly Piece[]): MarkedSpan[] {
  const spans: MarkedSpan[] = []
  let start = 0
  for (const { text, message, generated } of pieces) {
    const end = start + text.length
    if (generated) spans.push({ start, end, message, isOpen: false, isMarked: true })
    start = end
  }
  return spans
}
