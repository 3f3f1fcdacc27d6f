/**
 * Converts rows to token ids and loss masks.
 *
 * `input_ids` are used as given. A text begins with BOS if the tokenizer's own rule adds one, and ends with one EOS. With a
 * template, prompt and completion are a chat; without one they are joined and EOS is appended.
 */
import { InputError, UsageError } from '../common/errors.js'
import { encodeChat, type MaskedChat, maskChat } from './masks/chat-mask.js'
import { malformedRow } from './rows/check.js'
import { IGNORED_LABEL, type Row } from './rows/rows.js'
import type { ChatCounts } from './summary.js'
import { checkRoles } from './templates/roles.js'
import type { ChatTemplate, Message, TemplateContext } from './templates/template.js'
import type { Tokenizer } from './tokenizer/tokenizer.js'

/** One document: token ids and which of them are trained. */
export interface TokenRow {
  /** Token ids of the row. */
  ids: Int32Array
  /** 1 for each trained token. The first token of a row is never predicted, whatever its mask says. */
  mask: Uint8Array
}

export interface EncodeOptions {
  /** If null, only `input_ids` rows can be read. */
  tokenizer: Tokenizer | null
  /** If null, prompt and completion are joined. */
  template: ChatTemplate | null
  /** Longest row, in tokens; at least 2. */
  maxLength: number
  /** `all` also trains the prompt. */
  trainOn: 'completion' | 'all'
  /** Template variables for rows without their own. */
  context?: TemplateContext
  /** Aborting it ends the rendering of conversations with its reason. */
  signal?: AbortSignal
}

export interface EncodedRow {
  /** More than one if a long text was cut. */
  rows: TokenRow[]
  truncated: boolean
  /** What a template did with a chat. */
  chat?: Partial<ChatCounts>
}

/**
 * @param where names the row in errors
 * @throws InputError of a row that cannot be trained as it stands
 * @throws UsageError `no-tokenizer`, `no-chat-template`
 */
export async function encodeRow(row: Row, where: string, options: EncodeOptions): Promise<EncodedRow> {
  const { maxLength } = options
  if (row.kind === 'tokenised') {
    const mask = Uint8Array.from(row.ids, (_, i) => (row.labels?.[i] === IGNORED_LABEL ? 0 : 1))
    return oneRow(tokenRow(row.ids, mask), maxLength, undefined)
  }
  const { tokenizer } = options
  if (!tokenizer) {
    throw new UsageError(
      'no-tokenizer',
      `${where}: the model has no tokenizer, so rows of text cannot be read; give {input_ids, labels} rows.`,
    )
  }
  if (row.kind === 'text') {
    const ids = withEos(await tokenizer.encodeText(row.text, options.signal), tokenizer)
    return { rows: cutText(ids, maxLength), truncated: false }
  }
  if (options.template) return chatRow(row, where, tokenizer, options.template, options)
  if (row.kind === 'messages') {
    throw new UsageError(
      'no-chat-template',
      `${where}: messages need a chat template, and there is none: name one (the option template), or give prompt and completion.`,
    )
  }
  const [prompt, answer] = await Promise.all([
    tokenizer.encodeText(row.prompt, options.signal),
    tokenizer.encodeContinuation(row.completion, options.signal),
  ])
  const completion = withEos(answer, tokenizer)
  const mask = new Uint8Array(prompt.length + completion.length).fill(1, prompt.length)
  return promptedRow(tokenRow([...prompt, ...completion], mask), tokenizer, options)
}

function messagesOf(row: Exclude<Row, { kind: 'text' | 'tokenised' }>): Message[] {
  if (row.kind === 'messages') return row.messages
  return [
    { role: 'user', content: row.prompt },
    { role: 'assistant', content: row.completion },
  ]
}

async function chatRow(
  row: Exclude<Row, { kind: 'text' | 'tokenised' }>,
  where: string,
  tokenizer: Tokenizer,
  template: ChatTemplate,
  options: EncodeOptions,
): Promise<EncodedRow> {
  const messages = messagesOf(row)
  checkRoles(messages, template, where, row.kind === 'messages' ? row.roleAt : undefined)
  const context = contextOf(row, options.context)
  const encoded = await conversation(messages, where, tokenizer, template, context, options)
  if (!context.tools?.length || template.readsTools) return encoded
  return { ...encoded, chat: { ...encoded.chat, droppedTools: 1 } }
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
  if (options.trainOn === 'completion') return maskedRow(await masked(), tokenizer, options)
  try {
    return maskedRow(await masked(), tokenizer, options)
  } catch (error) {
    if (!(error instanceof InputError && NOT_MASKED.has(error.code))) throw error
    const text = await template.render(messages, { ...context, addGenerationPrompt: false }, options.signal)
    const ids = await encodeChat(tokenizer, text, where, options.signal)
    return promptedRow(tokenRow(ids, new Uint8Array(ids.length).fill(1)), tokenizer, options)
  }
}

/** Errors about finding answers, which do not matter if the whole conversation is trained. */
const NOT_MASKED = new Set(['unmaskable-template', 'no-end-of-turn'])

function maskedRow({ ids, mask, ...chat }: MaskedChat, tokenizer: Tokenizer, options: EncodeOptions): EncodedRow {
  return { ...promptedRow(tokenRow(ids, mask), tokenizer, options), chat }
}

/** Returns the template variables of a row; its own take precedence. */
function contextOf(row: Row, { tools, templateOptions }: TemplateContext = {}): TemplateContext {
  if (row.kind !== 'messages') return { tools, templateOptions }
  return { tools: row.tools ?? tools, templateOptions: { ...templateOptions, ...row.templateOptions } }
}

/** Cuts a row by its mask, which marks the answer even if the prompt is trained too. */
function promptedRow(row: TokenRow, tokenizer: Tokenizer, { maxLength, trainOn }: EncodeOptions): EncodedRow {
  const encoded = oneRow(row, maxLength, tokenizer.bosId)
  if (trainOn === 'all') for (const { mask } of encoded.rows) mask.fill(1)
  return encoded
}

function tokenRow(ids: readonly number[], mask: Uint8Array): TokenRow {
  return { ids: Int32Array.from(ids), mask }
}

function withEos(ids: number[], tokenizer: Tokenizer): number[] {
  return tokenizer.eosId === undefined || ids.at(-1) === tokenizer.eosId ? ids : [...ids, tokenizer.eosId]
}

/** Cuts a text into rows of at most `maxLength`; a last row of a single token, which predicts nothing, borrows one. */
function cutText(ids: readonly number[], maxLength: number): TokenRow[] {
  const rows: TokenRow[] = []
  for (let start = 0; start < ids.length; ) {
    const left = ids.length - start
    const length = left === maxLength + 1 && maxLength > 2 ? maxLength - 1 : Math.min(left, maxLength)
    rows.push(tokenRow(ids.slice(start, start + length), new Uint8Array(length).fill(1)))
    start += length
  }
  return rows
}

/**
 * Cuts a row that is too long: first the start of its prompt (but not BOS), and the completion's end only if the completion
 * alone is too long, so that the prompt never displaces targets.
 */
function oneRow(row: TokenRow, maxLength: number, bosId: number | undefined): EncodedRow {
  if (row.ids.length <= maxLength) return { rows: [row], truncated: false }
  const firstTarget = row.mask.indexOf(1, 1)
  const head = bosId !== undefined && row.ids[0] === bosId && firstTarget !== 1 && maxLength > 2 ? 1 : 0
  // The token before the first target has to stay, since it predicts that target.
  const latestStart = Math.max(head, firstTarget < 0 ? row.ids.length : firstTarget - 1)
  const start = Math.min(row.ids.length - (maxLength - head), latestStart)
  const kept = <Values extends Int32Array | Uint8Array>(values: Values): Values => {
    const result = new (values.constructor as new (length: number) => Values)(maxLength)
    result.set(values.subarray(0, head))
    result.set(values.subarray(start, start + maxLength - head), head)
    return result
  }
  return { rows: [{ ids: kept(row.ids), mask: kept(row.mask) }], truncated: true }
}

/** Counts the tokens of a row that are predicted and trained. */
export function countTargets(mask: Uint8Array): number {
  let count = 0
  for (let i = 1; i < mask.length; i++) count += mask[i]!
  return count
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
