/** The prompt of a conversation whose last message is continued. */
import { randomUUID } from 'node:crypto'
import { InputError } from '../../common/errors.js'
import { type Message, textsOf } from './messages.js'

/**
 * Returns a conversation up to the end of the last message's text, cut as transformers cuts it (`continue_final_message`): a mark behind
 * the text shows its place. A template that trims texts drops the white space at the end.
 *
 * @param render renders messages without a generation prompt
 * @throws InputError `template-failed` if the template does not print the text as it is
 */
export async function renderContinued(
  messages: readonly Message[],
  render: (messages: readonly Message[]) => string | Promise<string>,
): Promise<string> {
  const last = messages.at(-1)!
  const mark = `END_${randomUUID().replaceAll('-', '')}`
  const rendered = await render([...messages.slice(0, -1), marked(last, `${mark} `)])
  const place = rendered.lastIndexOf(mark)
  const text = textsOf(last).at(-1) ?? ''
  if (place < 0 || !rendered.slice(0, place).includes(text.trim())) {
    throw new InputError(
      'template-failed',
      'The chat template does not print the text of the last message as it is, so the message cannot be continued.',
    )
  }
  const continued = rendered.slice(0, place)
  return rendered.startsWith(`${mark} `, place) ? continued : continued.trimEnd()
}

/** Returns a message with a mark behind its last text. */
function marked(message: Message, mark: string): Message {
  const { content } = message
  if (typeof content === 'string') return { ...message, content: content + mark }
  const parts = content ?? []
  const at = parts.findLastIndex(({ type }) => type === 'text')
  return {
    ...message,
    content: parts.map((part, i) => (i === at && part.type === 'text' ? { ...part, text: part.text + mark } : part)),
  }
}
