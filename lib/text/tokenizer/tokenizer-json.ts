/** The files of a tokenizer. Prepares tokenizer.json for the library, and reads parts of it. */
import { InputError, quoted } from '../../common/errors.js'
import { isJsonObject } from '../../io/json.js'

type Json = Readonly<Record<string, unknown>>

/** The definition of a tokenizer, from a folder or a GGUF file. */
export interface TokenizerSource {
  /** Content of tokenizer.json. */
  json: Record<string, unknown>
  /** Content of tokenizer_config.json. */
  config: Record<string, unknown>
  /** `bos_token`, `eos_token`, `pad_token` and others, if the tokenizer has them. */
  specialTokens: Readonly<Record<string, string>>
  /** Jinja by name; `default` and `tool_use` (for conversations with tools) are used. */
  chatTemplates: ReadonlyMap<string, string>
  /** Names the folder or file in errors. */
  origin: string
  /** Files to write beside a saved model. */
  files: () => Map<string, string>
}

/**
 * Returns the parts that determine ids: without truncation, padding, the post-processor and BPE dropout.
 * @throws InputError for a dropout that is none
 */
export function plainJson(json: Json, origin: string): string {
  const model = isJsonObject(json.model) && 'dropout' in json.model ? { ...json.model, dropout: null } : json.model
  const { dropout = null } = isJsonObject(json.model) ? json.model : {}
  if (dropout !== null && !(typeof dropout === 'number' && dropout >= 0 && dropout <= 1)) {
    const message = `${origin}: expected null or a number from 0 to 1 for the model's dropout but found ${quoted(dropout)}.`
    throw new InputError('malformed-tokenizer', message)
  }
  return JSON.stringify({ ...json, model, truncation: null, padding: null, post_processor: null })
}

/**
 * Returns the added tokens, which may be absent.
 * @throws InputError for anything but a list
 */
export function addedTokensIn({ added_tokens: added }: Json, origin: string): unknown[] {
  if (added === undefined || added === null || Array.isArray(added)) return added ?? []
  const message = `${origin}: expected a list of tokens for added_tokens but found ${quoted(added)}.`
  throw new InputError('malformed-tokenizer', message)
}

/** Tells whether the tokenizer puts a space before a text, as SentencePiece does. */
export function isPrepending({ normalizer, pre_tokenizer }: Json): boolean {
  return [normalizer, pre_tokenizer].some((part) => JSON.stringify(stripPrefix(part)) !== JSON.stringify(part ?? null))
}

/** Returns the same tokenizer without the space that it puts before a text. */
export function withoutPrefix(json: Json): Json {
  return { ...json, normalizer: stripPrefix(json.normalizer), pre_tokenizer: stripPrefix(json.pre_tokenizer) }
}

/** Returns a normalizer or pre-tokenizer without its prefix. */
function stripPrefix(part: unknown): unknown {
  if (!isJsonObject(part)) return null
  if (part.type === 'Prepend') return { type: 'Prepend', prepend: '' }
  if (part.type === 'Metaspace') return { ...part, add_prefix_space: false, prepend_scheme: 'never' }
  if (part.type === 'ByteLevel') return part.add_prefix_space ? { ...part, add_prefix_space: false } : part
  for (const list of ['normalizers', 'pretokenizers']) {
    if (Array.isArray(part[list])) return { ...part, [list]: part[list].map(stripPrefix) }
  }
  return part
}

/**
 * Returns the tokens that a post-processor puts before a single text.
 * @throws InputError for a post-processor of no known kind
 */
export function tokensBefore(processor: unknown, origin: string): string[] {
  if (processor === null || processor === undefined) return []
  const { type, processors, single, cls }: Json = isJsonObject(processor) ? processor : {}
  if (type === 'ByteLevel') return []
  if (type === 'Sequence' && Array.isArray(processors)) return processors.flatMap((one) => tokensBefore(one, origin))
  if (type === 'BertProcessing' || type === 'RobertaProcessing') return [cls].flat().slice(0, 1).map(String)
  if (type !== 'TemplateProcessing' || !Array.isArray(single)) {
    const message = `${origin}: post_processor ${quoted(processor)} is of no known kind.`
    throw new InputError('malformed-tokenizer', message)
  }
  const tokens = single.map((piece) => isJsonObject(piece) && isJsonObject(piece.SpecialToken) && piece.SpecialToken.id)
  const sequence = tokens.indexOf(false)
  return tokens.slice(0, sequence < 0 ? undefined : sequence).map(String)
}
