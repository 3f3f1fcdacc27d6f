/** Turns the pieces of a text into the deltas of a chat's message. */
import { randomUUID } from 'node:crypto'
import type { GeneratedPiece, GenerateResult } from '../generate/index.js'
import type { ToolCall } from '../text/tool-calls/calls.js'
import type { Calling } from './chat-fields.js'
import { type CallPiece, ForcedCalls } from './forced-calls.js'

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
  /** The calls of a completion that must call some function. */
  readonly #forcedCalls = new ForcedCalls()
  /** The text so far of a completion whose first call has not begun. */
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
    if (this.#calls > 0) {
      const isDone = name === null && this.#forcedCalls.isComplete && finishReason === 'stop'
      return { delta: {}, finishReason: isDone ? 'tool_calls' : finishReason }
    }
    if (optional) return { delta: this.#pending ? { content: this.#pending } : {}, finishReason }
    const part = { name: name ?? nameIn(this.#pending), argumentsText: '' }
    return { delta: { tool_calls: [this.#whole(part)] }, finishReason }
  }

  #pushForced({ name, optional }: NonNullable<Calling['forced']>, text: string): ChatDelta | null {
    if (text === '') return null
    if (this.#isText) return { content: text }
    if (name !== null) return this.#callDeltas([{ ...(this.#calls === 0 && { name }), argumentsText: text }])
    if (this.#calls > 0) return this.#callDeltas(this.#forcedCalls.push(text))
    this.#pending += text
    if (!optional || isCall(this.#pending, optional))
      return this.#callDeltas(this.#forcedCalls.push(optional ? this.#pending : text))
    if (mayBeCall(this.#pending, optional)) return null
    this.#isText = true
    const content = this.#pending
    this.#pending = ''
    return { content }
  }

  #callDeltas(pieces: readonly CallPiece[]): ChatDelta | null {
    const calls = pieces
      .filter(({ name, argumentsText }) => name !== undefined || argumentsText !== '')
      .map(({ name, argumentsText }) =>
        name === undefined
          ? { index: this.#calls - 1, function: { arguments: argumentsText } }
          : this.#whole({ name, argumentsText }),
      )
    return calls.length > 0 ? { tool_calls: calls } : null
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

/** Whether a text is a call of one of these functions up to its arguments. */
function isCall(text: string, names: readonly string[]): boolean {
  const [, name] = /^\s*\{\s*"name"\s*:\s*"([^"]*)"\s*,\s*"arguments"\s*:\s*\S/.exec(text) ?? []
  return name !== undefined && names.includes(name)
}

/** Returns the name so far of a call that a limit or a stop string has cut. */
const nameIn = (text: string): string => /^[\s[]*\{\s*"name"\s*:\s*"([^"]*)/.exec(text)?.[1] ?? ''
