import { parseExact } from '../rows/exact-json.js'
import type { Message } from '../templates/template.js'
import type { ParsedAnswer } from './reader.js'

/**
 * Returns the message of an answer, for the next turn of a conversation. Its template renders it as the model wrote it, numbers
 * as they were spelled included.
 */
export function answerMessage({ content, reasoning, toolCalls }: ParsedAnswer): Message {
  return {
    role: 'assistant',
    content,
    ...(reasoning !== undefined && { reasoning_content: reasoning }),
    ...(toolCalls.length > 0 && {
      tool_calls: toolCalls.map(({ id, name, argumentsText }) => ({
        type: 'function',
        ...(id !== undefined && { id }),
        function: { name, arguments: parseExact(argumentsText) },
      })),
    }),
  }
}
