/** Turns conversations in the forms of several tools into messages of a chat template. */
import { quoted } from '../common/errors.js'
import { exactJsonIn } from '../io/exact-json.js'
import { isJsonObject, jsonIn } from '../io/json.js'
import { nestsTooDeep } from '../io/json-scan.js'
import { nearest } from '../schema/names.js'
import type { ChatTemplate } from '../text/template.js'
import type { ContentPart, Message, ThinkingPart } from '../text/templates/messages.js'
import { malformedRow } from './check.js'
import { ofLangChain } from './langchain.js'
import { plainParts } from './parts.js'

/** A message, and the place of its role in the row: `conversations[1].from`. */
export interface Turn {
  message: Message
  roleAt: string
  /** Whether the turn is a call that belongs to the assistant's message before it. */
  isCall?: boolean
}

/** A list of turns in a row. */
export interface TurnList {
  value: unknown
  /** The same value with numbers as written in the file, if the spelling is known. */
  exact?: unknown
  /** The name of the list's column. */
  column: string
  /** The row's place, for errors. */
  where: string
}

/** Roles of chat templates by other names of speakers, in lower case. */
const ROLES: ReadonlyMap<string, string> = new Map(
  Object.entries({
    human: 'user',
    prompter: 'user',
    gpt: 'assistant',
    chatgpt: 'assistant',
    bing: 'assistant',
    bard: 'assistant',
    bot: 'assistant',
    chatbot: 'assistant',
    model: 'assistant',
    ai: 'assistant',
    observation: 'tool',
    tool_response: 'tool',
    function_response: 'tool',
  }),
)

/** Speakers whose content is a call of a function, as JSON. */
const CALLS = new Set(['function_call', 'tool_call'])

/** Keys of a message that decide whether it is trained. */
const TRAINED = ['weight', 'train', 'loss', 'loss_weight'] as const

/** Keys of a message that are read here; all other keys go to the template. */
const READ = new Set<string>(['role', 'from', 'content', 'value', 'function_call', ...TRAINED])

/** Speakers of chat templates, which some data sets write with a capital. */
const USUAL = new Set(['system', 'user', 'assistant', 'tool'])

/**
 * Returns the turns of a list of messages (`role`, `content`), of ShareGPT's (`from`, `value`), of LangChain's, or of XTuner's
 * (`input`, `output`).
 * Turns of `function_call` or `tool_call` become one message with the assistant's before them. In OpenAI's older form, answers of
 * functions become `tool` messages.
 * @throws InputError `malformed-row`
 */
export function turnsOf({ value, exact, column, where }: TurnList): Turn[] {
  const list = listIn(value)
  if (!list || list.length === 0) {
    throw malformedRow(where, `${column}: expected a list of messages but received ${quoted(value)}`)
  }
  const exactList = listIn(exact)
  const turns = list.flatMap((one, i) => turnsIn(one, exactList?.[i], `${column}[${i}]`, where))
  const isOlder = turns.some(({ message }) => 'function_call' in message)
  return joinCalls(isOlder ? turns.map(withTools) : turns)
}

/** Returns a list, given as one or as JSON. */
function listIn(value: unknown): unknown[] | undefined {
  const list = typeof value === 'string' && /^\s*\[/.test(value) && !nestsTooDeep(value) ? jsonIn(value) : value
  return Array.isArray(list) ? list : undefined
}

function turnsIn(value: unknown, exact: unknown, at: string, where: string): Turn[] {
  if (!isJsonObject(value)) throw malformedRow(where, `${at}: expected a message but received ${quoted(value)}`)
  if (!('role' in value || 'from' in value) && 'input' in value && 'output' in value) {
    const { system, input, output } = value
    const said: [string, string, unknown][] = [
      ['system', 'system', system],
      ['user', 'input', input],
      ['assistant', 'output', output],
    ]
    return said
      .filter(([, , content]) => content !== undefined && content !== null && content !== '')
      .map(([role, key, content]) => ({
        message: { role, content: contentOf(content, `${at}.${key}`, where) },
        roleAt: `${at}.${key}`,
      }))
  }
  const own = plainParts(ofLangChain(value))
  const ownExact = isJsonObject(exact) ? plainParts(ofLangChain(exact)) : own
  const turn = turnOf(own.message, ownExact.message, at, where)
  const { content, tool_calls: calls } = turn.message
  const isSaid = calls !== undefined || (Array.isArray(content) && content.length > 0)
  return [
    ...ownExact.results.map((result) => ({ ...turn, message: { ...turn.message, role: 'tool', content: result } })),
    ...(isSaid || ownExact.results.length === 0 ? [turn] : []),
  ]
}

function turnOf(
  value: Readonly<Record<string, unknown>>,
  exact: Readonly<Record<string, unknown>>,
  at: string,
  where: string,
): Turn {
  const [roleKey, contentKey] = ['role' in value ? 'role' : 'from', 'content' in value ? 'content' : 'value']
  const speaker = value[roleKey]
  if (typeof speaker !== 'string' || speaker === '') {
    const what = roleKey in value ? `${at}.${roleKey}` : at
    throw malformedRow(where, `${what}: expected a role but received ${roleKey in value ? quoted(speaker) : 'none'}`)
  }
  const { content, ...told } = partsTold(value[contentKey], exact[contentKey])
  const others = Object.entries(exact).filter(([key]) => !READ.has(key))
  const small = speaker.toLowerCase()
  const role = ROLES.get(small) ?? (USUAL.has(small) ? small : speaker)
  const message: Message = { role: CALLS.has(small) ? 'assistant' : role, ...Object.fromEntries(others), ...told }
  const weight = weightOf(value, at, where)
  if (weight !== undefined) message.weight = weight
  if (roleKey === 'from' && content === undefined) {
    throw malformedRow(where, `${at}: expected a message of from and value, or of role and content`)
  }
  const calls = CALLS.has(small) ? callsIn(content) : undefined
  if (calls) message.tool_calls = calls
  else if (content !== undefined) message.content = contentOf(content, `${at}.${contentKey}`, where)
  if (isJsonObject(value.function_call)) message.function_call = exact.function_call
  if (message.tool_calls !== undefined && message.tool_calls !== null && !isListOfObjects(message.tool_calls)) {
    throw malformedRow(where, `${at}.tool_calls: expected a list of calls but received ${quoted(message.tool_calls)}`)
  }
  return { message, roleAt: `${at}.${roleKey}`, isCall: calls !== undefined }
}

/** Returns 1 for a trained message and 0 for another; undefined if no key decides. */
function weightOf(value: Readonly<Record<string, unknown>>, at: string, where: string): 0 | 1 | undefined {
  const key = TRAINED.find((name) => value[name] !== undefined && value[name] !== null)
  if (!key) return undefined
  const weight = Number(value[key])
  if (weight === 0 || weight === 1) return weight
  throw malformedRow(where, `${at}.${key}: expected 0 (not trained) or 1 but received ${quoted(value[key])}`)
}

/** Moves reasoning and calls from the parts of a content to the keys that templates read. */
function partsTold(
  content: unknown,
  exact: unknown,
): { content: unknown; reasoning_content?: string; tool_calls?: unknown[] } {
  if (!Array.isArray(content)) return { content }
  const partsOf = (type: string) =>
    content.flatMap((part: unknown, i) =>
      isJsonObject(part) && part.type === type
        ? [Array.isArray(exact) && isJsonObject(exact[i]) ? exact[i] : part]
        : [],
    )
  const reasoning = partsOf('reasoning').flatMap(({ value }) => (typeof value === 'string' ? [value] : []))
  const calls = partsOf('tool_call').map(callsOfPart)
  if (calls.some((call) => !call)) return { content }
  return {
    content: content.filter(
      (part) => !(isJsonObject(part) && (part.type === 'reasoning' || part.type === 'tool_call')),
    ),
    ...(reasoning.length > 0 && { reasoning_content: reasoning.join('\n') }),
    ...(calls.length > 0 && { tool_calls: calls.flatMap((call) => call!) }),
  }
}

/** Returns the calls of a part: JSON in its `value` (LLaMA-Factory), or its `name` and `arguments`. */
function callsOfPart({ value, name, arguments: given }: Readonly<Record<string, unknown>>): unknown[] | undefined {
  return typeof name === 'string' ? [callOf({ name, arguments: given ?? {} })] : callsIn(value)
}

export function contentOf(content: unknown, at: string, where: string): Message['content'] {
  if (content === null || typeof content === 'string') return content
  if (!Array.isArray(content)) {
    throw malformedRow(where, `${at}: expected a text or a list of parts but received ${quoted(content)}`)
  }
  return content.map((part: unknown, i): ContentPart | ThinkingPart => {
    if (typeof part === 'string') return { type: 'text', text: part }
    const { type = 'text', text, value, ...others } = isJsonObject(part) ? part : {}
    const said = text ?? value
    const thinking = type === 'thinking' ? thoughtIn(others.thinking) : undefined
    if (type === 'thinking' && thinking !== undefined) return { ...others, type, thinking }
    if (type === 'text' && typeof said === 'string') return { type, text: said, ...others }
    const received = isJsonObject(part) ? `one of type ${quoted(type)}` : quoted(part)
    throw malformedRow(
      where,
      `${at}[${i}]: expected a part of type "text" or "thinking" with its text but received ${received}`,
    )
  })
}

/** Returns the text of reasoning, which Mistral may write as a list of text parts. */
function thoughtIn(thinking: unknown): string | undefined {
  if (typeof thinking === 'string') return thinking
  const texts = Array.isArray(thinking) ? thinking.map((part) => (isJsonObject(part) ? part.text : undefined)) : []
  return texts.length > 0 && texts.every((text) => typeof text === 'string') ? texts.join('') : undefined
}

const isListOfObjects = (value: unknown): boolean => Array.isArray(value) && value.every(isJsonObject)

/** Returns the calls that a text holds as JSON, in OpenAI's form; undefined if it holds none. */
function callsIn(content: unknown): unknown[] | undefined {
  const parsed = typeof content === 'string' ? exactJsonIn(content) : undefined
  const calls = Array.isArray(parsed) ? parsed : [parsed]
  const isCall = (call: unknown) => isJsonObject(call) && typeof call.name === 'string'
  return calls.every(isCall) ? calls.map(callOf) : undefined
}

const callOf = (call: unknown) => ({ type: 'function', function: call })

/** Turns OpenAI's older `function_call` into a list of calls, and a function's answer into a tool's. */
function withTools({ message, roleAt }: Turn): Turn {
  const { function_call: call, ...others } = message
  if (call) return { message: { ...others, tool_calls: [callOf(call)] }, roleAt }
  return { message: message.role === 'function' ? { ...message, role: 'tool' } : message, roleAt }
}

/** Adds each call to the assistant's message before it, which may hold several. */
function joinCalls(turns: readonly Turn[]): Turn[] {
  const joined: Turn[] = []
  for (const turn of turns) {
    const last = joined.at(-1)
    if (!turn.isCall || last?.message.role !== 'assistant' || last.message.weight !== turn.message.weight) {
      joined.push({ ...turn })
      continue
    }
    const calls = [last.message, turn.message].flatMap(({ tool_calls }) => (tool_calls ?? []) as unknown[])
    last.message = { ...last.message, tool_calls: calls }
  }
  return joined
}

/** Returns the turns of a history: pairs of question and answer (LLaMA-Factory), or messages. */
export function historyTurns(list: TurnList): Turn[] {
  const pairs = listIn(list.value)
  if (!pairs?.every(isPair)) return pairs?.length === 0 ? [] : turnsOf(list)
  return (pairs as [string, string][]).flatMap(([asked, answered], i) => [
    { message: { role: 'user', content: asked }, roleAt: `${list.column}[${i}][0]` },
    { message: { role: 'assistant', content: answered }, roleAt: `${list.column}[${i}][1]` },
  ])
}

const isPair = (value: unknown): boolean =>
  Array.isArray(value) && value.length === 2 && value.every((text) => typeof text === 'string')

const KNOWN_ROLES = ['system', 'developer', 'user', 'assistant', 'tool', 'function']

/**
 * Checks the roles of messages, since many templates print any role and would train a misspelled one. Roles that are common, or
 * that the template names, are valid.
 *
 * @param roleAt the place of each role in its row
 * @throws InputError `malformed-row`
 */
export function checkRoles(
  messages: readonly Message[],
  template: ChatTemplate,
  where: string,
  roleAt: readonly string[] = [],
): void {
  for (const [i, { role }] of messages.entries()) {
    if (KNOWN_ROLES.includes(role) || template.names(role)) continue
    const near = nearest(role, KNOWN_ROLES)
    const way = near
      ? `perhaps ${quoted(near)} was meant`
      : `known are ${KNOWN_ROLES.join(', ')}, and the roles that the template names`
    throw malformedRow(
      where,
      `${roleAt[i] ?? `messages[${i}].role`}: ${quoted(role)} is no role that the chat template names; ${way}`,
    )
  }
}
