/** Turns the pieces of a text into the deltas of a chat's message. */
import { randomUUID } from 'node:crypto'
import { isObject } from '../common/arguments.js'
import type { GeneratedPiece, GenerateResult } from '../generate/index.js'
import { jsonIn } from '../io/json.js'
import type { ToolCall } from '../text/tool-calls/calls.js'
import type { Calling } from './chat-fields.js'

/** A part of a message. */
export interface ChatDelta {
  content?: string
  reasoning_content?: string
  tool_calls?: CallDelta[]
}

/** A part of a call: the first has its id and name. */
interface CallDelta {
  index: number
  id?: string
  type?: 'function'
  function: { name?: string; arguments: string }
}

/** A call as the model wrote it. */
type CallText = Omit<ToolCall, 'arguments'>

const newId = () => `call_${randomUUID().replaceAll('-', '')}`

/** A message during its generation. */
export class ChatMessage {
  #calls = 0
  /** The text so far of a forced call of any function, whose name is known once the call is complete. */
  #pending = ''
  /** Whether a completion that might have been a call is text. */
  #isText = false

  constructor(
    readonly forced: Calling['forced'],
    /** Maximum number of calls. */
    readonly maxCalls: number,
  ) {}

  /** Returns what a piece adds to the message; null if it adds nothing. */
  push({ text, reasoning, toolCalls = [] }: GeneratedPiece): ChatDelta | null {
    if (this.forced) return this.#pushForced(this.forced, text)
    const calls = toolCalls.slice(0, this.maxCalls - this.#calls).map((call) => this.#whole(call))
    const delta = {
      ...(text !== '' && { content: text }),
      ...(reasoning && { reasoning_content: reasoning }),
      ...(calls.length > 0 && { tool_calls: calls }),
    }
    return Object.keys(delta).length > 0 ? delta : null
  }

  /** Returns the rest of the message, and its finish reason. */
  end({ finishReason }: Pick<GenerateResult, 'finishReason'>): { delta: ChatDelta; finishReason: string } {
    if (!this.forced) return { delta: {}, finishReason: this.#calls > 0 ? 'tool_calls' : finishReason }
    const { name, optional } = this.forced
    if (optional && !this.#isCall(optional))
      return { delta: this.#pending ? { content: this.#pending } : {}, finishReason }
    if (name !== null && this.#calls > 0) return { delta: {}, finishReason }
    const call = name === null ? callIn(this.#pending) : null
    const part = call ?? (name === null ? partOfCall(this.#pending) : { name, argumentsText: '' })
    return { delta: { tool_calls: [this.#whole(part)] }, finishReason: call ? 'tool_calls' : finishReason }
  }

  #pushForced({ name, optional }: NonNullable<Calling['forced']>, text: string): ChatDelta | null {
    if (text === '') return null
    if (name === null) {
      this.#pending += text
      if (!optional || (!this.#isText && mayBeCall(this.#pending, optional))) return null
      this.#isText = true
      const content = this.#pending
      this.#pending = ''
      return { content }
    }
    if (this.#calls === 0) return { tool_calls: [this.#whole({ name, argumentsText: text })] }
    return { tool_calls: [{ index: 0, function: { arguments: text } }] }
  }

  /** Whether the completion is a call of one of these functions, complete or cut. */
  #isCall(names: readonly string[]): boolean {
    const { name, argumentsText } = partOfCall(this.#pending)
    return !this.#isText && names.includes(name) && argumentsText !== ''
  }

  #whole({ id = newId(), name, argumentsText }: CallText): CallDelta {
    return { index: this.#calls++, id, type: 'function', function: { name, arguments: argumentsText } }
  }
}

/** Returns the whole message of a text. */
export function wholeMessage(message: ChatMessage, whole: GenerateResult) {
  const delta = message.push(whole) ?? {}
  const { delta: last, finishReason } = message.end(whole)
  const { content, tool_calls: calls, ...more } = { ...delta, ...last }
  const withoutIndex = calls?.map((call) => ({ ...call, index: undefined }))
  return {
    message: {
      role: 'assistant',
      content: content ?? (calls ? null : ''),
      refusal: null,
      ...more,
      ...(withoutIndex && { tool_calls: withoutIndex }),
    },
    finishReason,
  }
}

/** Whether a text may be the beginning of a call of one of these functions. */
function mayBeCall(text: string, names: readonly string[]): boolean {
  const [, name, end] = /^\s*\{\s*"name"\s*:\s*"([^"]*)("?)/.exec(text) ?? []
  if (name === undefined) return '{"name":"'.startsWith(text.replace(/\s/g, ''))
  return end ? names.includes(name) : names.some((one) => one.startsWith(name))
}

/** Returns the name and the arguments so far of a call that a limit or a stop string has cut. */
function partOfCall(text: string): CallText {
  const pattern = /^\s*\{\s*"name"\s*:\s*"([^"]*)(?:"\s*,\s*"arguments"\s*:\s*(.*))?/s
  const [, name = '', argumentsText = ''] = pattern.exec(text) ?? []
  return { name, argumentsText }
}

function callIn(text: string): CallText | null {
  const value = jsonIn(text)
  if (!isObject(value) || typeof value.name !== 'string') return null
  return { name: value.name, argumentsText: JSON.stringify(value.arguments) }
}
