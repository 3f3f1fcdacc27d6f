import { z } from 'zod'
import { anyText, check, expecting, optionsSchema } from '../../common/arguments.js'
import { exactJsonIn, parseExact } from '../../io/exact-json.js'
import type { Message } from '../template.js'
import type { ParsedAnswer } from './reader.js'

const aCall = z.looseObject({
  name: z.string(),
  argumentsText: z.string().refine((text) => exactJsonIn(text) !== undefined),
})

const answerArguments = {
  answer: optionsSchema('an answer', {
    content: anyText,
    reasoning: anyText.optional(),
    toolCalls: expecting('a list of calls, each with a name and the JSON of its arguments', z.array(aCall)),
  }),
}

/**
 * Returns the message of an answer, for the next turn of a conversation. The template renders it as the model wrote it,
 * including the spelling of numbers.
 */
export function answerMessage(answer: ParsedAnswer): Message {
  check({ answer }, answerArguments)
  const { content, reasoning, toolCalls } = answer
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
