/** Turns prompts of the AI SDK into messages for a chat template. */
import type { LanguageModelV4FilePart, LanguageModelV4Prompt, LanguageModelV4ToolResultPart } from '@ai-sdk/provider'
import { UsageError } from '../common/errors.js'
import type { Message } from '../text/template.js'

type AssistantPart = Extract<LanguageModelV4Prompt[number], { role: 'assistant' }>['content'][number]

/** @throws UsageError `unsupported-content` for content other than text, reasoning, calls and their results */
export function messagesOf(prompt: LanguageModelV4Prompt): Message[] {
  return prompt.flatMap((message): Message[] => {
    const { role } = message
    if (role === 'system') return [{ role, content: message.content }]
    if (role === 'assistant') return [assistantMessage(message.content)]
    // Approvals are the AI SDK's own: the model sees the results of calls.
    if (role === 'tool')
      return message.content.flatMap((part) => (part.type === 'tool-result' ? [toolMessage(part)] : []))
    const texts = message.content.map((part) => (part.type === 'text' ? part.text : textOfFile(part)))
    const content = texts.length === 1 ? texts[0]! : texts.map((text) => ({ type: 'text' as const, text }))
    return [{ role, content }]
  })
}

function assistantMessage(parts: readonly AssistantPart[]): Message {
  let content = ''
  let reasoning = ''
  const calls: object[] = []
  for (const part of parts) {
    if (part.type === 'text') content += part.text
    else if (part.type === 'reasoning') reasoning += part.text
    else if (part.type === 'tool-call') {
      const { toolCallId: id, toolName: name, input } = part
      calls.push({ id, type: 'function', function: { name, arguments: JSON.stringify(input ?? {}) } })
    } else throw notText(`a part of type ${part.type} in the assistant's message`)
  }
  return {
    role: 'assistant',
    content: content === '' && calls.length > 0 ? null : content,
    ...(reasoning !== '' && { reasoning_content: reasoning }),
    ...(calls.length > 0 && { tool_calls: calls }),
  }
}

function toolMessage({ toolCallId, toolName, output }: LanguageModelV4ToolResultPart): Message {
  return { role: 'tool', tool_call_id: toolCallId, name: toolName, content: textOfResult(output) }
}

function textOfResult(output: LanguageModelV4ToolResultPart['output']): string {
  if (output.type === 'text' || output.type === 'error-text') return output.value
  if (output.type === 'json' || output.type === 'error-json') return JSON.stringify(output.value)
  if (output.type === 'execution-denied') return output.reason ?? 'The user refused this call.'
  return output.value
    .map((part) => {
      if (part.type === 'text') return part.text
      if (part.type === 'file') return textOfFile(part)
      throw notText('a custom part in the result of a tool')
    })
    .join('')
}

function textOfFile({ data, mediaType }: Pick<LanguageModelV4FilePart, 'data' | 'mediaType'>): string {
  if (data.type === 'text') return data.text
  if (data.type !== 'data' || !/^text\b/.test(mediaType)) throw notText(`a file of type ${mediaType}`)
  const bytes = typeof data.data === 'string' ? Buffer.from(data.data, 'base64') : Buffer.from(data.data)
  return bytes.toString()
}

function notText(what: string): UsageError {
  return new UsageError(
    'unsupported-content',
    `The model reads text only, but the prompt has ${what}; leave it out, or say it as text.`,
  )
}
