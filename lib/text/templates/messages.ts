/** Prepares messages for chat templates as transformers does, and adapts them to what a template accepts. */
import { InputError } from '../../common/errors.js'
import { parseExact } from '../../io/exact-json.js'
import { isJsonObject } from '../../io/json.js'
import { json } from '../python/text.js'
import { toValue } from '../python/values.js'

/** A part of a content that is text. Multimodal models are not supported. */
export interface ContentPart {
  /** Only text can be trained. */
  type: 'text'
  /** The text of this part. */
  text: string
  [key: string]: unknown
}

/** A part of a content that is reasoning, as Mistral and Anthropic write it. */
export interface ThinkingPart {
  /** Reasoning before the text. */
  type: 'thinking'
  /** The reasoning. */
  thinking: string
  [key: string]: unknown
}

/** One turn of a conversation. Further keys (`tool_calls`, `reasoning_content`, ...) reach the template too. */
export interface Message {
  /** The speaker, by a name that the template knows: `system`, `user`, `assistant` or `tool` in most. */
  role: string
  /** The text, or its parts; null or absent in a turn that only calls tools. */
  content?: string | readonly (ContentPart | ThinkingPart)[] | null
  [key: string]: unknown
}

/** Tells whether a role's messages instruct the model and precede the conversation. */
export const isInstruction = (role: string): boolean => role === 'system' || role === 'developer'

/** Keys that data sets use for reasoning. */
const REASONING = ['reasoning_content', 'thinking', 'reasoning'] as const

/** As transformers: drops keys that are null, and gives reasoning the names that templates look for. */
function plainMessage(message: Message): Message {
  const given = Object.entries(message).filter(([, value]) => value !== null && value !== undefined)
  const plain = Object.fromEntries(given) as Message
  const reasoning = reasoningOf(plain)
  return reasoning === undefined
    ? plain
    : { ...plain, reasoning_content: reasoning, thinking: plain.thinking ?? reasoning }
}

/** Returns the reasoning of a message, by whichever name. */
export function reasoningOf(message: Message): unknown {
  return REASONING.map((name) => message[name]).find((value) => value !== undefined && value !== null)
}

/** Returns the texts of a content, without its reasoning. */
export function textsOf({ content }: Message): string[] {
  if (typeof content === 'string') return [content]
  return (content ?? []).flatMap((part) => (isThinking(part) ? [] : part.text))
}

/** Returns the reasoning that stands in parts of a content. */
export function thoughtsOf({ content }: Message): string[] {
  return typeof content === 'string' ? [] : (content ?? []).filter(isThinking).map(({ thinking }) => thinking)
}

export const isThinking = (part: ContentPart | ThinkingPart): part is ThinkingPart => part.type === 'thinking'

type Render = (messages: readonly Message[]) => string

/**
 * Returns messages in a form that a template accepts. Lists of parts stay if the template loops over them. If it would fail,
 * leave them out, or print the list itself, reasoning becomes a field, and texts are joined. If the template still refuses the
 * conversation, absent contents become empty, and arguments of calls become an object instead of JSON, or JSON instead of an
 * object.
 *
 * @param render renders messages; throws InputError if the template refuses them
 */
export function acceptedForm(messages: readonly Message[], render: Render): Message[] {
  const plain = messages.map(plainMessage)
  const hasParts = plain.some(({ content }) => Array.isArray(content))
  const joined = hasParts ? withParts(plain, render) : plain
  const isPlain = joined.every(({ content, tool_calls }) => content !== undefined && tool_calls === undefined)
  if (isPlain || renders(joined, render)) return joined
  const filled = joined.map((message) => ({ ...message, content: message.content ?? '' }))
  const forms = [filled, ...[argumentsRead, argumentsWritten].map((change) => filled.map(withArguments(change)))]
  return forms.find((form) => renders(form, render)) ?? joined
}

function withParts(messages: readonly Message[], render: Render): Message[] {
  if (takesParts(messages, render)) return [...messages]
  const told = messages.map(tellThoughts)
  const isSame = told.every((message, i) => message === messages[i])
  return !isSame && takesParts(told, render) ? told : told.map(joinParts)
}

/** Moves reasoning from parts of the content to the fields of reasoning. */
function tellThoughts(message: Message): Message {
  const { content } = message
  const thoughts = thoughtsOf(message)
  if (typeof content === 'string' || !content || thoughts.length === 0) return message
  const reasoning = reasoningOf(message)
  const all = [...(typeof reasoning === 'string' ? [reasoning] : []), ...thoughts].join('\n')
  return { ...message, content: content.filter((part) => !isThinking(part)), reasoning_content: all, thinking: all }
}

const withArguments =
  (change: (given: unknown) => unknown) =>
  (message: Message): Message => {
    if (!Array.isArray(message.tool_calls)) return message
    const changed = (call: unknown): unknown => {
      if (!isJsonObject(call)) return call
      if (isJsonObject(call.function)) return { ...call, function: changed(call.function) }
      return 'arguments' in call ? { ...call, arguments: change(call.arguments) } : call
    }
    return { ...message, tool_calls: message.tool_calls.map(changed) }
  }

function argumentsRead(given: unknown): unknown {
  if (typeof given !== 'string') return given
  try {
    JSON.parse(given)
    return parseExact(given)
  } catch {
    return given
  }
}

function argumentsWritten(given: unknown): unknown {
  if (typeof given !== 'object' || given === null) return given
  try {
    return json(toValue(given))
  } catch {
    // The template refuses what nests too deep.
    return given
  }
}

/** A key that shows up in the text only if a part is printed as a mapping. */
const PROBE = 'probe-of-a-part'

function takesParts(messages: readonly Message[], render: Render): boolean {
  const probing = messages.map((message) =>
    Array.isArray(message.content)
      ? { ...message, content: message.content.map((part) => ({ ...part, [PROBE]: true })) }
      : message,
  )
  const text = rendered(probing, render)
  if (text === undefined || text.includes(PROBE)) return false
  const parts = messages
    .filter(({ content }) => Array.isArray(content))
    .flatMap((message) => [...thoughtsOf(message), ...textsOf(message)])
  return parts.every((part) => text.includes(part.trim()))
}

function joinParts(message: Message): Message {
  return Array.isArray(message.content) ? { ...message, content: textsOf(message).join('') } : message
}

function renders(messages: readonly Message[], render: Render): boolean {
  return rendered(messages, render) !== undefined
}

function rendered(messages: readonly Message[], render: Render): string | undefined {
  try {
    return render(messages)
  } catch (error) {
    if (error instanceof InputError) return undefined
    throw error
  }
}
