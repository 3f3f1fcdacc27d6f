/** Templates and masks in the process of the test, where mutations and coverage reach them. */
import { addedTokens, type MaskedChat, maskAnswers } from '../../../lib/data/masks/chat-mask.js'
import { ChatTurns } from '../../../lib/data/masks/chat-turns.js'
import { TokenMarks } from '../../../lib/data/masks/token-marks.js'
import { turnTokens } from '../../../lib/data/masks/token-spans.js'
import { CompiledTemplate, type TemplateContext } from '../../../lib/data/templates/compiled-template.js'
import type { Message } from '../../../lib/data/templates/messages.js'
import type { VisibleTokenizer } from '../tokenizer/visible-tokenizer.js'

export function compiled(source: string, specialTokens = {}, origin = 'test'): CompiledTemplate {
  return new CompiledTemplate({ source, specialTokens, origin })
}

export function maskChat(
  tokenizer: VisibleTokenizer,
  template: CompiledTemplate,
  messages: readonly Message[],
  where: string,
  context: TemplateContext = {},
): MaskedChat {
  const chat = new ChatTurns(template, new TokenMarks(addedTokens(tokenizer)), messages, context, where)
  const { spans, turns, counts } = chat.answers()
  const alone = new Map(spans.map((span) => [span, tokenizer.alone(chat.text.slice(span.start, span.end))]))
  const tokens = tokenizer.placed(chat.text)
  return { ...maskAnswers(tokens, spans, alone, tokenizer, where), turns: turnTokens(tokens, turns), ...counts }
}
