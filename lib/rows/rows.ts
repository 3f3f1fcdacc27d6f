/** Training rows. */
import { z } from 'zod'
import { theOption } from '../common/option-names.js'
import { exactJsonIn } from '../io/exact-json.js'
import { isJsonObject } from '../io/json.js'
import { type Message, textsOf } from '../text/templates/messages.js'
import type { Tokenizer } from '../text/tokenizer.js'
import { checked, malformedRow } from './check.js'
import { contentOf, historyTurns, type Turn, turnsOf } from './conversation.js'
import type { FormedRow } from './formed-row.js'
import { type RowPart, TEMPLATE_OPTIONS, TOKEN_MASKS } from './forms.js'
import type { WhyLeftOut } from './logged/call.js'

/** A row as objectives take it. */
export type Row = (
  | {
      /** A text, which is trained as a whole. */
      kind: 'text'
      text: string
    }
  | {
      /** A prompt and its completion. */
      kind: 'completion'
      prompt: string
      completion: string
      /** Whether both are parts of one text, so that no template applies. */
      isText?: true
    }
  | ({
      /** A conversation, with tools and template variables of its own. */
      kind: 'messages'
      messages: Message[]
      /** For each message, the place of its role in the row, for errors; by default `messages[i].role`. */
      roleAt?: string[]
    } & Pick<PromptRow, 'tools' | 'templateOptions'>)
  | {
      /** Token ids; a label of -100 is not trained. */
      kind: 'tokenised'
      ids: number[]
      labels: number[] | undefined
    }
  | {
      /** A logged call that is not trained. */
      kind: 'left-out'
      reason: WhyLeftOut
    }
  | {
      /** Tokens that a kind of rows makes by itself, to which no template applies. */
      kind: 'own'
      /** Returns the tokens of the prompt and of the completion, its end included. @throws InputError `malformed-row` */
      encode(tokenizer: Tokenizer, signal?: AbortSignal): Promise<{ prompt: number[]; completion: number[] }>
    }
  | {
      /** Texts that an objective compares or gives a label. */
      kind: 'compared'
      /** The texts of each example, one for each document. */
      examples: Row[][]
      /** The number of a label, 1 for a good answer, or the margin of a pair. */
      label?: number
      /** Whether texts are taken as wholes, so that no token of them is predicted. */
      areWhole?: boolean
    }
) & {
  /** The factor of the row's loss, and of its part of the divisor; default 1. */
  weight?: number
}

/** Label of a token that is not trained. */
export const IGNORED_LABEL = -100

/** A prompt, or a conversation with its tools and template variables. */
export interface PromptRow {
  prompt?: string
  messages?: Message[]
  /** Token ids of a prompt, which are continued without changes. */
  ids?: number[]
  /** Schemas of functions; undefined if the row has none of its own. */
  tools?: unknown[]
  /** Variables of the template. */
  templateOptions?: Record<string, unknown>
}

/** A question and its answer. */
export interface QuestionRow extends PromptRow {
  answer: string
  /** Whether the answer is a whole completion, as it would be trained: the row has no column for the answer alone. */
  isCompletion: boolean
}

/**
 * Returns the trained part of a row.
 * @throws InputError `malformed-row`
 */
export function trainingRow(row: FormedRow): Row {
  if (row.logged?.leftOut) return { kind: 'left-out', reason: row.logged.leftOut }
  if (row.has('input_ids')) return tokenisedRow(row)
  if (row.has('text')) return { kind: 'text', text: row.text('text') }
  if (!row.has('messages') && !row.has('completion')) {
    throw malformedRow(
      row.where,
      `there is no answer to train beside ${row.name('prompt')}; name its column (${theOption('columns')})`,
    )
  }
  const read = answeredRow(row, 'completion')
  if (row.has('messages')) requireAnswer(row, read)
  return read
}

/** Columns that may hold the answer to a conversation that ends with the user's turn. */
const ANSWERS = ['response', 'output', 'completion', 'answer']

/** @throws InputError `malformed-row` for a conversation whose answer is in another column: its history alone would be trained */
function requireAnswer(row: FormedRow, read: Row): void {
  if (read.kind !== 'messages' || read.messages.at(-1)?.role !== 'user') return
  const isThere = (name: string | undefined) => name !== undefined && Boolean(row.columns.value(name))
  const answer = ANSWERS.map((name) => row.columns.find(name)).find(isThere)
  if (answer === undefined) return
  const columns = theOption('columns', { prompt: row.name('messages'), completion: answer })
  throw malformedRow(
    row.where,
    `${row.name('messages')} ends with the user's turn, and ${answer} may be the answer: name both (${columns}), or ignore the column (${theOption('ignoreColumns', [answer])})`,
  )
}

/** Returns a prompt with one of its answers. */
export function answeredRow<Own extends string>(row: FormedRow<Own>, part: RowPart<Own>): Row {
  if (!row.has('messages') && row.isText('prompt') && row.isText(part) && !row.hasContext) {
    return { kind: 'completion', prompt: promptText(row), completion: row.text(part) }
  }
  return messagesRow(row, conversation(row, part))
}

/** Returns a prompt with one of its answers, which may be token ids. */
export function comparedAnswer<Own extends string>(row: FormedRow<Own>, part: RowPart<Own>): Row {
  if (!row.hasIds('prompt')) return answeredRow(row, part)
  const wholes = (name: string): number[] =>
    checked(z.object({ [name]: z.array(z.int32().min(0)) }), { [name]: row.columns.value(name) }, row.where)[name]!
  const [prompt, answer] = [wholes(row.name('prompt')), wholes(row.name(part))]
  return { kind: 'tokenised', ids: [...prompt, ...answer], labels: [...prompt.map(() => IGNORED_LABEL), ...answer] }
}

export function messagesRow(row: FormedRow, turns: readonly Turn[]): Row {
  const isUsual = turns.every(({ roleAt }, i) => roleAt === `messages[${i}].role`)
  return {
    kind: 'messages',
    messages: turns.map(({ message }) => message),
    ...(!isUsual && { roleAt: turns.map(({ roleAt }) => roleAt) }),
    ...context(row),
  }
}

/**
 * Returns the prompt of a row, its conversation without the answer at the end, or its ids.
 * @throws InputError `malformed-row`
 */
export function promptRow(row: FormedRow): PromptRow {
  if (row.has('input_ids')) return { ids: promptIds(tokenisedRow(row)) }
  if (row.has('prompt') && row.isText('prompt') && !row.hasContext) return { prompt: promptText(row) }
  const turns = opening(row, row.has('prompt') ? promptTurns(row) : turnsOf(row.list('messages')))
  const hasAnswer = !row.has('prompt') && turns.at(-1)?.message.role === 'assistant'
  return { messages: (hasAnswer ? turns.slice(0, -1) : turns).map(({ message }) => message), ...context(row) }
}

/** Returns the ids before the first trained one. */
function promptIds({ ids, labels }: ReturnType<typeof tokenisedRow>): number[] {
  const answer = labels?.findIndex((label) => label !== IGNORED_LABEL) ?? -1
  return answer > 0 ? ids.slice(0, answer) : ids
}

/**
 * Returns the question of a row, and the answer.
 * @throws InputError `malformed-row`
 */
export function questionRow(row: FormedRow): QuestionRow {
  const part = (['answer', 'completion'] as const).find((part) => row.has(part))
  if (part) {
    const answer = row.text(part)
    if (answer.trim() === '')
      throw malformedRow(row.where, `${row.name(part)}: expected an answer but received an empty text`)
    return { ...promptRow(row), answer, isCompletion: part === 'completion' }
  }
  const last = conversation(row).at(-1)?.message
  const answer = last?.role === 'assistant' ? textsOf(last).join('') : ''
  if (answer.trim() !== '') return { ...promptRow(row), answer, isCompletion: true }
  throw malformedRow(row.where, `${row.name('messages')}: expected an assistant's answer at the end`)
}

/** Returns all turns of a conversation. */
export function conversation<Own extends string>(row: FormedRow<Own>, part: RowPart<Own> = 'completion'): Turn[] {
  if (row.has('messages')) return opening(row, turnsOf(row.list('messages')))
  return [...opening(row, untrained(promptTurns(row))), ...answerTurns(row, part)]
}

/** Returns the turns with every answer marked as not trained. */
export const untrained = (turns: readonly Turn[]): Turn[] =>
  turns.map(({ message, ...others }) => ({
    message: message.role === 'assistant' ? { ...message, weight: 0 } : message,
    ...others,
  }))

export function answerTurns<Own extends string>(row: FormedRow<Own>, part: RowPart<Own>): Turn[] {
  if (!row.isText(part)) return turnsOf(row.list(part))
  return [{ message: { role: 'assistant', content: row.text(part) }, roleAt: row.name(part) }]
}

function promptTurns(row: FormedRow): Turn[] {
  if (row.isText('prompt')) return [{ message: { role: 'user', content: promptText(row) }, roleAt: row.name('prompt') }]
  return turnsOf(row.list('prompt'))
}

/** Returns turns after the system message and the history of a row, unless the turns begin with a system message. */
export function opening(row: FormedRow, turns: readonly Turn[]): Turn[] {
  const system = row.has('system') ? systemContent(row) : ''
  const history = row.has('history') ? historyTurns(row.list('history')) : []
  const all = [...history, ...turns]
  if (system.length === 0 || all[0]?.message.role === 'system') return all
  return [{ message: { role: 'system', content: system }, roleAt: row.name('system') }, ...all]
}

/** Returns the content of the system message: a text, or the parts of a list or of Vertex's message. */
function systemContent(row: FormedRow): NonNullable<Message['content']> {
  const value = row.value('system')
  const parts = isJsonObject(value) ? (value.parts ?? value.content) : value
  return Array.isArray(parts) ? (contentOf(parts, row.name('system'), row.where) ?? '') : row.text('system')
}

/** Returns the prompt, with the input after an empty line. */
function promptText(row: FormedRow): string {
  const input = row.has('input') ? row.lines('input') : ''
  return input === '' ? row.text('prompt') : `${row.text('prompt')}\n\n${input}`
}

/** Returns the tools and the template's variables of a row. */
function context(row: FormedRow): Pick<PromptRow, 'tools' | 'templateOptions'> {
  const tools = row.has('tools') ? toolsOf(row) : undefined
  const templateOptions = row.columns.exact(TEMPLATE_OPTIONS) ?? undefined
  if (templateOptions !== undefined && !isJsonObject(templateOptions)) {
    throw malformedRow(row.where, `${TEMPLATE_OPTIONS}: expected an object of variables`)
  }
  return { ...(tools && { tools }), ...(templateOptions && { templateOptions }) }
}

/**
 * Returns schemas of functions, from a list or its JSON; OpenAI's older `functions` and the forms of Vertex and Bedrock become
 * OpenAI's `tools`.
 */
function toolsOf(row: FormedRow): unknown[] | undefined {
  const value = row.value('tools')
  if (typeof value === 'string' && value.trim() === '') return undefined
  const given = typeof value === 'string' ? exactJsonIn(value) : row.columns.exact(row.name('tools'))
  // Bedrock has the list in an object.
  const tools = isJsonObject(given) ? given.tools : given
  if (!Array.isArray(tools))
    throw malformedRow(row.where, `${row.name('tools')}: expected a list of schemas, or JSON of one`)
  return row.name('tools') === 'functions' ? tools.map(ofFunction) : tools.flatMap(schemasIn)
}

const ofFunction = (tool: unknown) => ({ type: 'function', function: tool })

function schemasIn(tool: unknown): unknown[] {
  if (!isJsonObject(tool)) return [tool]
  const { toolSpec, cachePoint, functionDeclarations: listed = tool.function_declarations } = tool
  if (Array.isArray(listed)) return listed.map(ofFunction)
  if (cachePoint !== undefined) return []
  if (!isJsonObject(toolSpec)) return [tool]
  const { inputSchema, ...facts } = toolSpec
  return [ofFunction({ ...facts, ...(isJsonObject(inputSchema) && { parameters: inputSchema.json }) })]
}

/** Parses a JSON list of schemas; undefined for anything else. */
export function parsedTools(json: string): unknown[] | undefined {
  const tools = exactJsonIn(json)
  return Array.isArray(tools) ? tools : undefined
}

function tokenisedRow(row: FormedRow): Extract<Row, { kind: 'tokenised' }> {
  const { where } = row
  const wholes = (name: string, entry: z.ZodType<number>): number[] =>
    checked(z.object({ [name]: z.array(entry).min(1) }), { [name]: row.columns.value(name) }, where)[name]!
  const ids = wholes(row.name('input_ids'), z.int32().min(0))
  const maskName = TOKEN_MASKS.map((name) => row.columns.find(name)).find((name) => name !== undefined)
  const name = row.has('labels') ? row.name('labels') : maskName
  if (name === undefined) return { kind: 'tokenised', ids, labels: undefined }
  const list = wholes(name, name === maskName ? z.int32().min(0).max(1) : z.int32())
  if (list.length !== ids.length) {
    throw malformedRow(where, `${name}: expected ${ids.length} entries, one for each id, but received ${list.length}`)
  }
  const labels = name === maskName ? ids.map((id, i) => (list[i] ? id : IGNORED_LABEL)) : list
  const odd = labels.findIndex((label, i) => label !== IGNORED_LABEL && label !== ids[i])
  if (odd < 0) return { kind: 'tokenised', ids, labels }
  throw malformedRow(
    where,
    `${name}[${odd}]: expected ${IGNORED_LABEL} or the id at its place, ${ids[odd]}, but received ${labels[odd]}`,
  )
}
