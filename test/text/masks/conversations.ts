/** Conversations under small templates, with a tokenizer with visible tokens, and their trained parts. */
import type { Message, TemplateContext } from '../../../lib/text/template.js'
import { compiled, maskChat } from '../templates/compiled.js'
import { tokenizerOf } from '../tokenizer/visible-tokenizer.js'

const special = ['<e>', '<u>', '<a>', '<o>', '<s>', '<b>', '<call>', '<result>', '<channel>', '<eos>']
export const visible = tokenizerOf({ special, added: ['<think>', '</think>', '<tool>', '</tool>'] })

export const user = (content: string): Message => ({ role: 'user', content })
export const system = (content: string): Message => ({ role: 'system', content })
export const result = (content: string): Message => ({ role: 'tool', content })
export const assistant = (content: string, more: object = {}): Message => ({ role: 'assistant', content, ...more })
export const call = (name: string) => ({ type: 'function', function: { name, arguments: {} } })

export const templateOf = (source: string) => compiled(source, { bos_token: '<b>', eos_token: '<eos>' })

/** The trained stretches as texts, and the other results for the conversation. */
export function trainedOf(
  source: string,
  messages: readonly Message[],
  context: TemplateContext = {},
  tokenizer = visible,
) {
  const { ids, mask, turns: _, ...counts } = maskChat(tokenizer, templateOf(source), messages, 'rows.jsonl:3', context)
  const trained: string[] = []
  for (const [i, id] of ids.entries()) {
    if (!mask[i]) continue
    if (!mask[i - 1]) trained.push('')
    trained.push(trained.pop()! + tokenizer.tokenOf(id)!)
  }
  return { trained, ...counts }
}
