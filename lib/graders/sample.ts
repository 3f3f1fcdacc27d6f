/** Answers, as graders see them. */
import { jsonIn } from '../io/json.js'
import type { ToolCall } from '../text/tool-calls/calls.js'
import type { AnswerSample } from './template.js'

/** Returns an answer by its content, its calls and whether the model ended it. */
export function sampleOf(content: string, calls: readonly ToolCall[] = [], hasEnded = true): AnswerSample {
  const tools = calls.map(({ id, name, argumentsText }, i) => ({
    id: id ?? `call_${i}`,
    type: 'function',
    function: { name, arguments: argumentsText },
  }))
  const message = { role: 'assistant', content, refusal: null, ...(tools.length > 0 && { tool_calls: tools }) }
  const reason = tools.length > 0 ? 'tool_calls' : hasEnded ? 'stop' : 'length'
  return {
    output_text: content,
    output_json: jsonIn(content),
    output_tools: tools,
    choices: [{ index: 0, message, finish_reason: reason }],
  }
}
