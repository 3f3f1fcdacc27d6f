/**
 * Converts rows to token ids and loss masks.
 *
 * `input_ids` are used as given. A text begins with BOS if the tokenizer's own rule adds one, and ends with one EOS. With a
 * template, prompt and completion are a chat; without one they are joined and EOS is appended.
 */
import { InputError, UsageError } from '../../common/errors.js'
import { hasArrowNulls } from '../../rows/arrow-nulls.js'
import { malformedRow } from '../../rows/check.js'
import { checkRoles } from '../../rows/conversation.js'
import type { WhyLeftOut } from '../../rows/logged/call.js'
import { IGNORED_LABEL, type Row } from '../../rows/rows.js'
import { encodeChat, type MaskedChat, maskChat } from '../../text/chat-mask.js'
import type { TurnTokens } from '../../text/masks/token-spans.js'
import type { TurnCounts } from '../../text/masks/turn-texts.js'
import { type ChatTemplate, type Message, needsTemplate, type TemplateContext } from '../../text/template.js'
import type { Tokenizer } from '../../text/tokenizer.js'
import { countTargets, type Document, type Example, exampleOf } from './example.js'
import { type LimitOptions, type LongRowCounts, limitRow, windowsOf } from './long-rows.js'

/** Options of tokenising rows. A text that is too long always becomes several rows. */
export interface EncodeOptions extends Omit<LimitOptions, 'bosId'> {
  /** If null, only `input_ids` rows can be read. */
  tokenizer: Tokenizer | null
  /** If null, prompt and completion are joined. */
  template: ChatTemplate | null
  /** Template variables for rows without their own. */
  context?: TemplateContext
  /** Aborting it ends the rendering of conversations with its reason. */
  signal?: AbortSignal
}

/** Counts of how a template rendered conversations. */
export interface ChatCounts extends TurnCounts {
  /** Conversations whose tools the template leaves out. */
  droppedTools: number
  /** Conversations with nulls in schemas or calls that Arrow adds. */
  arrowNulls: number
}

/** The examples of a row. */
export interface EncodedRow {
  /** Several if the row was split, a text was cut, or it has several positive texts; none if the row was left out. */
  rows: Example[]
  /** Number of tokens before anything was cut. */
  length: number
  /** Counts of what was cut from a row that was too long. */
  cut?: Partial<LongRowCounts>
  /** Counts of a template's changes to the conversation. */
  chat?: Partial<ChatCounts>
  /** Why a logged call, which has no rows then, is left out. */
  leftOut?: WhyLeftOut
}

/**
 * @param where names the row in errors
 * @throws InputError of a row that cannot be trained as it stands
 * @throws UsageError `no-tokenizer`, `no-chat-template`
 */
export async function encodeRow(row: Row, where: string, options: EncodeOptions): Promise<EncodedRow> {
  const { rows, ...facts } = await encodeUnweighed(row, where, options)
  const { weight } = row
  if (weight === undefined) return { rows, ...facts }
  return { rows: rows.map((one) => ({ ...(weight === 0 ? untrained(one) : one), weight })), ...facts }
}

async function encodeUnweighed(row: Row, where: string, options: EncodeOptions): Promise<EncodedRow> {
  if (row.kind === 'left-out') return { rows: [], length: 0, leftOut: row.reason }
  if (row.kind === 'compared') return encodeCompared(row, where, options)
  if (row.kind === 'tokenised') {
    const mask = Uint8Array.from(row.ids, (_, i) => (row.labels?.[i] === IGNORED_LABEL ? 0 : 1))
    return limited(documentOf(row.ids, mask), undefined, where, null, { ...options, trainOn: 'completion' })
  }
  const tokenizer = tokenizerOf(options, where)
  if (row.kind === 'text') {
    const ids = withEos(await tokenizer.encodeText(row.text, options.signal), tokenizer)
    return { rows: windowsOf(trainedWhole(ids), options.maxLength).map(exampleOf), length: ids.length }
  }
  const isPlain = row.kind === 'own' || (row.kind === 'completion' && row.isText)
  if (options.template && !isPlain) return chatRow(row, where, tokenizer, options.template, options)
  if (row.kind === 'messages') throw noTemplate(where)
  const { prompt, completion } = await (row.kind === 'own'
    ? row.encode(tokenizer, options.signal)
    : encodeCompletion(row, tokenizer, options.signal))
  const mask = new Uint8Array(prompt.length + completion.length).fill(1, prompt.length)
  return limited(documentOf([...prompt, ...completion], mask), undefined, where, tokenizer, options)
}

async function encodeCompletion(
  row: Extract<Row, { kind: 'completion' }>,
  tokenizer: Tokenizer,
  signal: AbortSignal | undefined,
): ReturnType<Extract<Row, { kind: 'own' }>['encode']> {
  const [prompt, answer] = await Promise.all([
    tokenizer.encodeText(row.prompt, signal),
    tokenizer.encodeContinuation(row.completion, signal),
  ])
  return { prompt, completion: withEos(answer, tokenizer) }
}

function tokenizerOf({ tokenizer }: EncodeOptions, where: string): Tokenizer {
  if (tokenizer) return tokenizer
  throw new UsageError(
    'no-tokenizer',
    `${where}: the model has no tokenizer, so rows of text cannot be read; give {input_ids, labels} rows.`,
  )
}

/**
 * Encodes a row without targets. A conversation is rendered without a generation prompt; a text gets no EOS, which
 * programs that use a classifier do not add either.
 */
async function encodeWhole(row: Row, where: string, options: EncodeOptions): Promise<EncodedRow> {
  const { template, context, signal } = options
  if (row.kind !== 'text' && row.kind !== 'completion' && row.kind !== 'messages') return encodeRow(row, where, options)
  const isJoined = row.kind === 'completion' && (row.isText || !template)
  if (isJoined && row.completion !== '') return encodeRow(row, where, options)
  const tokenizer = tokenizerOf(options, where)
  let ids: number[]
  if (row.kind === 'text') ids = await tokenizer.encodeText(row.text, signal)
  else if (isJoined) ids = await tokenizer.encodeText(row.prompt, signal)
  else {
    if (!template) throw noTemplate(where)
    const turns = messagesOf(row)
    const messages = row.kind === 'completion' && row.completion === '' ? turns.slice(0, 1) : turns
    const text = await template.render(messages, { ...contextOf(row, context), addGenerationPrompt: false }, signal)
    ids = await encodeChat(tokenizer, text, where, signal)
  }
  if (ids.length === 0) throw malformedRow(where, 'the text is empty, so it has no last token to be scored')
  return limited(trainedWhole(ids), undefined, where, tokenizer, options)
}

const noTemplate = (where: string) => needsTemplate(`${where}: messages need`, 'give prompt and completion')

/**
 * Joins the texts of each example. An example of answers has no targets if one has no token or all are equal; no example is
 * returned if a text is dropped.
 */
async function encodeCompared(
  { examples, label, areWhole }: Extract<Row, { kind: 'compared' }>,
  where: string,
  options: EncodeOptions,
): Promise<EncodedRow> {
  const encode = areWhole ? encodeWhole : encodeRow
  const texts = [...new Set(examples.flat())]
  const encoded = await Promise.all(texts.map((text) => encode(text, where, options)))
  const { chat, cut } = encoded.find(({ cut }) => cut) ?? encoded[0]!
  const how = { length: Math.max(...encoded.map(({ length }) => length)), ...(cut && { cut }), ...(chat && { chat }) }
  if (encoded.some(({ rows }) => rows.length === 0)) return { rows: [], ...how }
  const rows = examples.map((one): Example => {
    const documents = one.flatMap((text) => encoded[texts.indexOf(text)]!.rows[0]!.documents)
    const example = { documents, ...(label !== undefined && { label }) }
    return areWhole || areEqual(documents) || documents.some((own) => countTargets([own]) === 0)
      ? untrained(example)
      : example
  })
  return { rows, ...how }
}

const areEqual = (documents: readonly Document[]): boolean =>
  documents.length > 1 && documents.every(({ ids }) => Buffer.compare(bytesOf(ids), bytesOf(documents[0]!.ids)) === 0)

const bytesOf = (ids: Int32Array): Uint8Array => new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength)

/** Returns the example with nothing trained. */
function untrained(example: Example): Example {
  for (const { mask } of example.documents) mask.fill(0)
  return example
}

function messagesOf(row: Extract<Row, { kind: 'completion' | 'messages' }>): Message[] {
  if (row.kind === 'messages') return row.messages
  return [
    { role: 'user', content: row.prompt },
    { role: 'assistant', content: row.completion },
  ]
}

async function chatRow(
  row: Extract<Row, { kind: 'completion' | 'messages' }>,
  where: string,
  tokenizer: Tokenizer,
  template: ChatTemplate,
  options: EncodeOptions,
): Promise<EncodedRow> {
  const messages = messagesOf(row)
  checkRoles(messages, template, where, row.kind === 'messages' ? row.roleAt : undefined)
  const context = contextOf(row, options.context)
  const encoded = await conversation(messages, where, tokenizer, template, context, options)
  const tools = context.tools ?? []
  if (tools.length > 0 && !template.readsTools) return { ...encoded, chat: { ...encoded.chat, droppedTools: 1 } }
  const arrowNulls = Number(hasArrowNulls(messages, tools))
  return arrowNulls ? { ...encoded, chat: { ...encoded.chat, arrowNulls } } : encoded
}

async function conversation(
  messages: readonly Message[],
  where: string,
  tokenizer: Tokenizer,
  template: ChatTemplate,
  context: TemplateContext,
  options: EncodeOptions,
): Promise<EncodedRow> {
  const masked = (): Promise<MaskedChat> => maskChat(tokenizer, template, messages, where, context, options.signal)
  if (options.trainOn === 'completion') return maskedRow(await masked(), where, tokenizer, options)
  try {
    return maskedRow(await masked(), where, tokenizer, options)
  } catch (error) {
    if (!(error instanceof InputError && NOT_MASKED.has(error.code))) throw error
    const text = await template.render(messages, { ...context, addGenerationPrompt: false }, options.signal)
    const ids = await encodeChat(tokenizer, text, where, options.signal)
    return limited(trainedWhole(ids), undefined, where, tokenizer, options)
  }
}

/** Errors about finding the answers: they do not matter if the whole conversation is trained. */
const NOT_MASKED = new Set(['unmaskable-template', 'no-end-of-turn'])

function maskedRow(
  { ids, mask, turns, ...chat }: MaskedChat,
  where: string,
  tokenizer: Tokenizer,
  options: EncodeOptions,
): EncodedRow {
  return { ...limited(documentOf(ids, mask), turns, where, tokenizer, options), chat }
}

/** Returns the template variables of a row; its own take precedence. */
function contextOf(row: Row, { tools, templateOptions }: TemplateContext = {}): TemplateContext {
  if (row.kind !== 'messages') return { tools, templateOptions }
  return { tools: row.tools ?? tools, templateOptions: { ...templateOptions, ...row.templateOptions } }
}

function limited(
  document: Document,
  turns: readonly TurnTokens[] | undefined,
  where: string,
  tokenizer: Tokenizer | null,
  options: EncodeOptions,
): EncodedRow {
  const { documents, ...facts } = limitRow(document, turns, where, { ...options, bosId: tokenizer?.bosId })
  return { rows: documents.map(exampleOf), ...facts }
}

function documentOf(ids: Int32Array | readonly number[], mask: Uint8Array): Document {
  return { ids: ids instanceof Int32Array ? ids : Int32Array.from(ids), mask }
}

function trainedWhole(ids: readonly number[]): Document {
  return documentOf(ids, new Uint8Array(ids.length).fill(1))
}

function withEos(ids: number[], tokenizer: Tokenizer): number[] {
  return tokenizer.eosId === undefined || ids.at(-1) === tokenizer.eosId ? ids : [...ids, tokenizer.eosId]
}

/** @throws InputError for an id that the model's embedding does not have */
export function checkIds(ids: Int32Array, vocabularySize: number, where: string): void {
  const odd = ids.findIndex((id) => id >= vocabularySize)
  if (odd < 0) return
  throw malformedRow(
    where,
    `id ${ids[odd]} at position ${odd} is not below the model's vocabulary size ${vocabularySize}`,
  )
}
