/** The forms that a training row may have. */
import { z } from 'zod'
import { jsonIn } from '../../io/json.js'
import { nestsTooDeep } from '../../io/json-scan.js'
import type { Message } from '../templates/messages.js'
import { checked, malformedRow } from './check.js'
import { exactColumns, parseExact } from './exact-json.js'
import type { DataRecord } from './record.js'
import type { TextTemplate } from './text-template.js'

/** A text; all of it is trained. */
export interface TextRow {
  kind: 'text'
  text: string
}

/** A question and its answer. */
export interface CompletionRow {
  kind: 'completion'
  prompt: string
  completion: string
}

/** A conversation. */
export interface MessagesRow {
  kind: 'messages'
  messages: Message[]
  /** Schemas of functions; undefined if the row has none of its own. */
  tools?: unknown[]
  /** Variables of the template. */
  templateOptions?: Record<string, unknown>
}

/** Already tokenised; a label of -100 is not trained. */
export interface TokenisedRow {
  kind: 'tokenised'
  ids: number[]
  labels: number[] | undefined
}

export type Row = TextRow | CompletionRow | MessagesRow | TokenisedRow

/** Label of a token that is not trained. */
export const IGNORED_LABEL = -100

const message = z.looseObject({
  role: z.string().min(1),
  content: z
    .union([z.string(), z.array(z.looseObject({ type: z.literal('text'), text: z.string() })), z.null()])
    .optional(),
  tool_calls: z.array(z.looseObject({})).nullish(),
  weight: z.union([z.literal(0), z.literal(1)], { error: 'expected 0 (not trained) or 1' }).nullish(),
})
const tokenId = z.int32().min(0)

/** ShareGPT's form, or ordinary messages, which some data sets store under its key. */
const shareGptTurn = z.union([z.looseObject({ from: z.string().min(1), value: z.string().nullable() }), message], {
  error: 'expected a message of from and value, or of role and content',
})

const context = {
  tools: z.union([z.array(z.unknown()), z.string()], { error: 'expected a list of schemas, or JSON of one' }).nullish(),
  chat_template_kwargs: z.record(z.string(), z.unknown()).nullish(),
}

const forms = {
  tokenised: z.looseObject({ input_ids: z.array(tokenId).min(1), labels: z.array(z.int32()).optional() }),
  messages: z.looseObject({ messages: z.array(message).min(1), ...context }),
  conversations: z.looseObject({
    conversations: z.array(shareGptTurn).min(1),
    system: z.string().nullish(),
    ...context,
  }),
  completion: z.looseObject({ prompt: z.string(), completion: z.string() }),
  promptedMessages: z.looseObject({
    prompt: z.array(message).min(1),
    completion: z.array(message).min(1),
    ...context,
  }),
  instruction: z.looseObject({
    instruction: z.string(),
    input: z.string().nullable().optional(),
    output: z.string(),
  }),
  text: z.looseObject({ text: z.string() }),
}

/**
 * Recognises a row by its keys and checks it; further keys are ignored. `instruction` and `input` become the prompt.
 *
 * @param where names the row in errors, `train.jsonl:12`
 * @param json the value's JSON, if known: numbers of tools and calls then keep their spelling
 * @throws InputError `malformed-row`
 */
export function parseRow(value: unknown, where: string, json?: string): Row {
  const row = checked(z.record(z.string(), z.unknown()), value, where)
  if ('input_ids' in row) return tokenisedRow(checked(forms.tokenised, row, where), where)
  if ('messages' in row)
    return messagesRow(checked(forms.messages, row, where), ({ messages }) => messages, where, json)
  if (Array.isArray(row.prompt) || Array.isArray(row.completion)) {
    return messagesRow(checked(forms.promptedMessages, row, where), promptedMessages, where, json)
  }
  if ('prompt' in row || 'completion' in row) {
    const { prompt, completion } = checked(forms.completion, row, where)
    return { kind: 'completion', prompt, completion }
  }
  if ('instruction' in row) {
    const { instruction, input, output } = checked(forms.instruction, row, where)
    return { kind: 'completion', prompt: input ? `${instruction}\n\n${input}` : instruction, completion: output }
  }
  if ('text' in row) return { kind: 'text', text: checked(forms.text, row, where).text }
  if ('conversations' in row) {
    return messagesRow(checked(forms.conversations, row, where), shareGptMessages, where, json)
  }
  throw malformedRow(
    where,
    `expected the keys text, prompt and completion, messages, conversations, instruction and output, or input_ids, but it has ${
      Object.keys(row).join(', ') || 'none'
    }`,
  )
}

function tokenisedRow({ input_ids, labels }: z.output<typeof forms.tokenised>, where: string): TokenisedRow {
  if (labels && labels.length !== input_ids.length) {
    throw malformedRow(
      where,
      `labels: expected ${input_ids.length} entries, one for each id, but received ${labels.length}`,
    )
  }
  const odd = labels?.findIndex((label, i) => label !== IGNORED_LABEL && label !== input_ids[i]) ?? -1
  if (odd >= 0) {
    throw malformedRow(
      where,
      `labels[${odd}]: expected ${IGNORED_LABEL} or the id at its place, ${input_ids[odd]}, but received ${labels![odd]}`,
    )
  }
  return { kind: 'tokenised', ids: input_ids, labels }
}

interface ConversationRow {
  tools?: unknown[] | string | null
  chat_template_kwargs?: Record<string, unknown> | null
}

/** @param messagesOf returns the row's messages */
function messagesRow<Form extends ConversationRow>(
  row: Form,
  messagesOf: (row: Form) => Message[],
  where: string,
  json: string | undefined,
): MessagesRow {
  const checkedMessages = messagesOf(row)
  const hasValues =
    Boolean(row.tools ?? row.chat_template_kwargs) || checkedMessages.some(({ tool_calls }) => tool_calls)
  // Values that a template may print come from the JSON; the checked keys of a message stay.
  const written = ((hasValues && exactColumns(json)) || row) as Form
  const { tools, chat_template_kwargs: templateOptions } = written
  const parsed = typeof tools === 'string' ? toolsOf(tools, where) : tools
  return {
    kind: 'messages',
    messages: messagesOf(written).map((message, i) => ({ ...message, ...plainKeys(checkedMessages[i]!) })),
    ...(parsed && { tools: parsed }),
    ...(templateOptions && { templateOptions }),
  }
}

/** Joins TRL's conversational prompt and completion; turns of the prompt are not trained. */
function promptedMessages({ prompt, completion }: z.output<typeof forms.promptedMessages>): Message[] {
  return [
    ...prompt.map((message) => (message.role === 'assistant' ? { ...message, weight: 0 } : message)),
    ...completion,
  ]
}

/** ShareGPT's names of speakers that differ from the role's name. */
const SHARE_GPT_ROLES: Readonly<Record<string, string>> = {
  human: 'user',
  gpt: 'assistant',
}

function shareGptMessages({ conversations, system }: z.output<typeof forms.conversations>): Message[] {
  const messages = conversations.map((turn): Message => {
    if (!('from' in turn && 'value' in turn)) return turn as Message
    const { from, value, ...others } = turn as { from: string; value: string | null }
    return { ...others, role: SHARE_GPT_ROLES[from] ?? from, content: value }
  })
  return system && messages[0]!.role !== 'system' ? [{ role: 'system', content: system }, ...messages] : messages
}

/** Returns the checked keys of a message. */
function plainKeys({ role, content, weight }: Message): Message {
  return { role, ...(content !== undefined && { content }), ...(weight !== undefined && { weight }) }
}

/** Parses the tools of a table's column, which is JSON or empty. */
function toolsOf(json: string, where: string): unknown[] | undefined {
  if (json.trim() === '') return undefined
  const tools = parsedTools(json)
  if (tools) return tools
  throw malformedRow(where, 'tools: expected a list of schemas, or JSON of one')
}

/** Parses a JSON list of schemas; undefined for anything else. */
export function parsedTools(json: string): unknown[] | undefined {
  const tools = jsonIn(json) === undefined || nestsTooDeep(json) ? undefined : parseExact(json)
  return Array.isArray(tools) ? tools : undefined
}

/** Returns the row of a record: a text from its columns if `text` is given, else the form that its keys determine. */
export function rowOf(record: DataRecord, text?: TextTemplate | null): Row {
  return text ? { kind: 'text', text: text.of(record) } : parseRow(record.value, record.where, record.json)
}
