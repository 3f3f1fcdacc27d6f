/** Finds the parts of an assistant's turn that a chat template leaves out. */
import { type Message, reasoningOf, textsOf, thoughtsOf } from '../templates/messages.js'
import { callsIn, callsOf } from './turn-texts.js'

/** Parts of a turn that a text does not show. */
export interface LeftOut {
  /** Whether calls are left out. */
  calls: boolean
  /** Whether reasoning (in a field of its own or in the content) or another part of the content is left out. */
  reasoning: boolean
  /** Whether the whole content is left out; false for a message without content, or with calls in an unknown form. */
  everything: boolean
}

/** Matches line ends and tags, which a template may replace by others. */
const BREAKS = /\n|<[^<>\n]*>|\[\/?[A-Z_]+\]|◁[^◁▷\n]*▷/

/** Returns the lines of a text without tags, and without the white space around them. */
export function linesSaid(text: string): string[] {
  return text.split(BREAKS).flatMap((line) => line.trim() || [])
}

/** @param shown the turn's text in the rendered conversation */
export function leftOut(message: Message, shown: string): LeftOut {
  const reasoning = reasoningOf(message)
  const calls = callsOf(message)
  const thoughts = [...(typeof reasoning === 'string' ? [reasoning] : []), ...thoughtsOf(message)]
  const lines = [...thoughts, ...textsOf(message)].flatMap(linesSaid)
  const linesShown = linesSaid(shown).join('\n')
  const isAnyShown = lines.some((line) => linesShown.includes(line)) || calls.some((name) => shown.includes(name))
  const isKnown = calls.length > 0 || (callsIn(message).length === 0 && lines.length > 0)
  return {
    calls: calls.some((name) => !shown.includes(name)),
    reasoning: !areInOrder(lines, linesShown),
    everything: isKnown && !isAnyShown,
  }
}

/** Tells whether a text has all lines, one after the other. */
function areInOrder(lines: readonly string[], text: string): boolean {
  let at = 0
  return lines.every((line) => {
    const found = text.indexOf(line, at)
    at = found + line.length
    return found >= 0
  })
}
