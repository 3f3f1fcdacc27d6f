/** The forms that a training row may have. */
import { z } from 'zod'
import { InputError } from '../../errors.js'
import { isJsonObject } from '../../io/json.js'
import { nestsTooDeep } from '../../io/json-scan.js'
import { schemaProblem } from '../../io/schema-problem.js'
import type { Message } from '../templates/messages.js'
import { parseExact } from './exact-json.js'
import type { DataRecord } from './record.js'

/** Continued text: all of it is trained. */
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
  /** Schemas of functions; undefined where the row has none of its own. */
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

const forms = {
  tokenised: z.looseObject({ input_ids: z.array(tokenId).min(1), labels: z.array(z.int32()).optional() }),
  messages: z.looseObject({
    messages: z.array(message).min(1),
    tools: z
      .union([z.array(z.unknown()), z.string()], { error: 'expected a list of schemas, or JSON of one' })
      .nullish(),
    chat_template_kwargs: z.record(z.string(), z.unknown()).nullish(),
  }),
  completion: z.looseObject({ prompt: z.string(), completion: z.string() }),
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
 * @param json what the value was read from, if known: numbers of tools and calls are then as they are written there
 * @throws InputError `malformed-row`
 */
export function parseRow(value: unknown, where: string, json?: string): Row {
  const row = checked(z.record(z.string(), z.unknown()), value, where)
  if ('input_ids' in row) return tokenisedRow(checked(forms.tokenised, row, where), where)
  if ('messages' in row) return messagesRow(checked(forms.messages, row, where), where, json)
  if ('prompt' in row || 'completion' in row) {
    const { prompt, completion } = checked(forms.completion, row, where)
    return { kind: 'completion', prompt, completion }
  }
  if ('instruction' in row) {
    const { instruction, input, output } = checked(forms.instruction, row, where)
    return { kind: 'completion', prompt: input ? `${instruction}\n\n${input}` : instruction, completion: output }
  }
  if ('text' in row) return { kind: 'text', text: checked(forms.text, row, where).text }
  throw malformedRow(
    where,
    `expected the keys text, prompt and completion, messages, instruction and output, or input_ids, but it has ${
      Object.keys(row).join(', ') || 'none'
    }`,
  )
}

/**
 * A row of the form that a schema has.
 * @throws InputError `malformed-row`
 */
export function checked<Schema extends z.ZodType>(schema: Schema, value: unknown, where: string): z.output<Schema> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw malformedRow(where, schemaProblem(result.error, 'the row'))
}

export function malformedRow(where: string, problem: string): InputError {
  return new InputError('malformed-row', `${where}: ${problem}.`)
}

function tokenisedRow({ input_ids, labels }: z.output<typeof forms.tokenised>, where: string): TokenisedRow {
  if (labels && labels.length !== input_ids.length) {
    throw malformedRow(
      where,
      `labels: expected ${input_ids.length} entries, one for each id, but ${labels.length} came`,
    )
  }
  const odd = labels?.findIndex((label, i) => label !== IGNORED_LABEL && label !== input_ids[i]) ?? -1
  if (odd >= 0) {
    throw malformedRow(
      where,
      `labels[${odd}]: expected ${IGNORED_LABEL} or the id at its place, ${input_ids[odd]}, but ${labels![odd]} came`,
    )
  }
  return { kind: 'tokenised', ids: input_ids, labels }
}

function messagesRow(row: z.output<typeof forms.messages>, where: string, json: string | undefined): MessagesRow {
  const exact = hasValues(row) && json !== undefined && !nestsTooDeep(json) ? parseExact(json) : row
  const { messages, tools, chat_template_kwargs: templateOptions } = (isJsonObject(exact) ? exact : row) as typeof row
  const parsed = typeof tools === 'string' ? toolsOf(tools, where) : tools
  return {
    kind: 'messages',
    messages: messages.map((message, i) => ({ ...message, ...plainKeys(row.messages[i]!) })),
    ...(parsed && { tools: parsed }),
    ...(templateOptions && { templateOptions }),
  }
}

/** Whether a row has values that a template may write as it likes, beside texts. */
function hasValues({ messages, tools, chat_template_kwargs }: z.output<typeof forms.messages>): boolean {
  return Boolean(tools ?? chat_template_kwargs) || messages.some(({ tool_calls }) => tool_calls)
}

/** What was checked of a message. */
function plainKeys({ role, content, weight }: Message): Message {
  return { role, ...(content !== undefined && { content }), ...(weight !== undefined && { weight }) }
}

/** Columns of tables hold tools as JSON, or nothing. */
function toolsOf(json: string, where: string): unknown[] | undefined {
  if (json.trim() === '') return undefined
  const tools = parsedTools(json)
  if (tools) return tools
  throw malformedRow(where, 'tools: expected a list of schemas, or JSON of one')
}

/** A list of schemas from its JSON; undefined of anything else. */
export function parsedTools(json: string): unknown[] | undefined {
  try {
    JSON.parse(json)
  } catch {
    return undefined
  }
  const tools = nestsTooDeep(json) ? undefined : parseExact(json)
  return Array.isArray(tools) ? tools : undefined
}

/** A row of a record. */
export const rowOf = ({ value, where, json }: DataRecord): Row => parseRow(value, where, json)
