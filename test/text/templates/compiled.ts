/** Templates and masks in the process of the test, where mutations and coverage reach them. */
import { ChatTurns } from '../../../lib/text/masks/chat-turns.js'
import { answerTokens, type MaskedChat, maskOf } from '../../../lib/text/masks/mask-answers.js'
import { TokenMarks } from '../../../lib/text/masks/token-marks.js'
import { turnTokens } from '../../../lib/text/masks/token-spans.js'
import { CompiledTemplate, type TemplateContext } from '../../../lib/text/templates/compiled-template.js'
import type { Message } from '../../../lib/text/templates/messages.js'
import type { VisibleTokenizer } from '../tokenizer/visible-tokenizer.js'

export function compiled(source: string, specialTokens = {}, origin = 'test'): CompiledTemplate {
  return new CompiledTemplate({ source, specialTokens, origin })
}

/** A masked conversation with its ids as a list. */
export type ListedChat = Omit<MaskedChat, 'ids'> & { ids: number[] }

export function maskChat(
  tokenizer: VisibleTokenizer,
  template: CompiledTemplate,
  messages: readonly Message[],
  where: string,
  context: TemplateContext = {},
): ListedChat {
  const chat = new ChatTurns(template, new TokenMarks(tokenizer.added), messages, context, where)
  const { text, spans, turns, counts } = chat.answers()
  const alone = new Map(spans.map((span) => [span, tokenizer.alone(text.slice(span.start, span.end))]))
  const tokens = tokenizer.placed(text)
  const trained = answerTokens(tokens, spans, alone, tokenizer.addedIds, tokenizer, where)
  return { ids: tokens.ids, mask: maskOf(tokens.ids.length, trained), turns: turnTokens(tokens, turns), ...counts }
}
