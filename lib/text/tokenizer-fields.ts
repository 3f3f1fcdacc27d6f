/** Writes a tokenizer as the metadata of a GGUF file, the form that `tokenizerFromGguf` reads. */
import { UsageError } from '../common/errors.js'
import type { GgufValue } from '../io/gguf-types.js'
import { bool, float32, type GgufField, ggufText, list, plainMetadata, uint32 } from '../io/gguf-writer.js'
import { SPACE_MARK, TokenType, tokenizerFromGguf } from './tokenizer/from-gguf.js'
import { preTokenizerName } from './tokenizer/pre-tokenizers.js'
import { createTokenizer, type Tokenizer } from './tokenizer.js'

/** The entries of tokenizer.json's model. */
interface BpeModel {
  type?: string
  vocab: Record<string, number>
  merges: (string | [string, string])[]
  byte_fallback?: boolean
}

/**
 * Returns the fields of a tokenizer for a model that embeds `rows` tokens; rows without a token get unused ones.
 *
 * @param origin names the tokenizer in errors
 * @param fallback llama.cpp's kind of a tokenizer that falls back to bytes: with scores, or with merges as in Gemma 4
 * @throws UsageError `unsupported-tokenizer` if GGUF cannot express it, or gives other ids
 */
export async function tokenizerFields(
  tokenizer: Tokenizer,
  rows: number,
  origin: string,
  fallback: 'llama' | 'gemma4' = 'llama',
): Promise<Map<string, GgufField>> {
  const unsupported = (why: string) =>
    new UsageError('unsupported-tokenizer', `The tokenizer of ${origin} cannot be written into a GGUF file: ${why}.`)
  const json = JSON.parse(tokenizer.files().get('tokenizer.json')!) as Record<string, unknown>
  const model = json.model as BpeModel
  if (tokenizer.vocabularySize > rows)
    throw unsupported(`it has ${tokenizer.vocabularySize} tokens for ${rows} embeddings`)
  if (model.type !== undefined && model.type !== 'BPE') throw unsupported(`it is of the kind ${model.type}, not BPE`)
  const isByteLevel = JSON.stringify(json.pre_tokenizer ?? null).includes('"ByteLevel"')
  if (!isByteLevel && !model.byte_fallback) throw unsupported('its BPE has neither byte-level tokens nor byte fallback')
  const name = isByteLevel ? preTokenizerName(json) : null
  if (isByteLevel && name === null)
    throw unsupported('llama.cpp has no name that is known here for the way it splits words')

  const tokens = tokensOf(tokenizer, model, rows)
  const types = tokens.map((token, id) => typeOf(tokenizer, model, token, id))
  const fields = new Map<string, GgufField>()
  const set = (key: string, field: GgufField) => fields.set(`tokenizer.ggml.${key}`, field)
  const kind = isByteLevel ? 'gpt2' : fallback
  set('model', ggufText(kind))
  if (kind !== 'gemma4') set('pre', ggufText(name ?? 'default'))
  set(
    'tokens',
    list(
      'string',
      tokens.map((token, id) => token ?? `[PAD${id}]`),
    ),
  )
  set('token_type', list('int32', types))
  if (kind !== 'llama') {
    set(
      'merges',
      list(
        'string',
        model.merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' '))),
      ),
    )
  }
  if (!isByteLevel) {
    if (kind === 'llama') set('scores', list('float32', scoresOf(tokens, model)))
    const [first = -1] = await tokenizer.encode('a')
    set('add_space_prefix', bool(tokenizer.tokenOf(first)?.startsWith(SPACE_MARK) ?? false))
  }
  const ids = { bos: tokenizer.bosId, eos: tokenizer.eosId, padding: tokenizer.padId, unknown: unknownId(tokenizer) }
  for (const [key, id] of Object.entries(ids)) if (id !== undefined) set(`${key}_token_id`, uint32(id))
  set(
    'add_bos_token',
    bool(tokenizer.bosId !== undefined && (await tokenizer.encodeText('')).includes(tokenizer.bosId)),
  )
  set('add_eos_token', bool(false))
  for (const [name, source] of tokenizer.chatTemplates) {
    fields.set(`tokenizer.chat_template${name === 'default' ? '' : `.${name}`}`, ggufText(source))
  }

  const source = tokenizerFromGguf(plainMetadata(fields), origin)
  const again = await createTokenizer(source!)
  const sample = sampleText(tokenizer)
  const [written, given] = await Promise.all([again, tokenizer].map((each) => each.encodeText(sample)))
  if (written!.join() !== given!.join()) throw unsupported("what GGUF's form of it makes of text differs")
  return fields
}

/** Returns the fields of a GGUF file's own tokenizer, to write them again. */
export function copiedTokenizerFields(metadata: ReadonlyMap<string, GgufValue>): Map<string, GgufField> {
  const fields = new Map<string, GgufField>()
  for (const [key, value] of metadata) if (key.startsWith('tokenizer.')) fields.set(key, fieldOf(key, value))
  return fields
}

/** The fields for a model without a tokenizer. */
export const noTokenizerFields: ReadonlyMap<string, GgufField> = new Map([
  ['tokenizer.ggml.model', ggufText('no_vocab')],
])

function fieldOf(key: string, value: GgufValue): GgufField {
  if (typeof value === 'string') return ggufText(value)
  if (typeof value === 'boolean') return bool(value)
  if (typeof value === 'bigint') return { type: value < 0n ? 'int64' : 'uint64', value }
  if (typeof value === 'number') return Number.isInteger(value) && value >= 0 ? uint32(value) : float32(value)
  const values = value as Exclude<GgufValue, GgufValue[]>[]
  if (typeof values[0] === 'string') return list('string', values)
  if (key.endsWith('scores')) return list('float32', values)
  return list(key.endsWith('charsmap') ? 'uint8' : 'int32', values)
}

function tokensOf(tokenizer: Tokenizer, model: BpeModel, rows: number): (string | undefined)[] {
  const tokens = new Array<string | undefined>(rows).fill(undefined)
  for (const [token, id] of Object.entries(model.vocab)) tokens[id] = token
  for (const id of tokenizer.addedIds) tokens[id] = tokenizer.tokenOf(id)
  return tokens
}

function unknownId(tokenizer: Tokenizer): number | undefined {
  const { unk_token: token } = tokenizer.specialTokens
  return token === undefined ? undefined : tokenizer.idOf(token)
}

function typeOf(tokenizer: Tokenizer, { byte_fallback }: BpeModel, token: string | undefined, id: number): number {
  if (token === undefined) return TokenType.unused
  if (byte_fallback && id === unknownId(tokenizer)) return TokenType.unknown
  if (tokenizer.specialIds.has(id)) return TokenType.control
  if (tokenizer.addedIds.has(id)) return TokenType.userDefined
  return byte_fallback && /^<0x[0-9A-F]{2}>$/.test(token) ? TokenType.byte : TokenType.normal
}

/**
 * Returns scores for SentencePiece, which joins the neighbours whose token has the best score: the rank of a token's first
 * merge.
 */
function scoresOf(tokens: readonly (string | undefined)[], { merges }: BpeModel): number[] {
  const ranks = new Map<string, number>()
  for (const [rank, merge] of merges.entries()) {
    const token = typeof merge === 'string' ? merge.replace(' ', '') : merge.join('')
    if (!ranks.has(token)) ranks.set(token, rank)
  }
  return tokens.map((token) => -(ranks.get(token ?? '') ?? merges.length))
}

/** Returns a sample text that shows differences between tokenizers. */
function sampleText(tokenizer: Tokenizer): string {
  const special = [...tokenizer.addedIds].slice(0, 8).map((id) => tokenizer.tokenOf(id))
  return `Hello, world! It's  we'LL   12345 3.14 a1b2\n\n\tif (x != 0) { return "…"; } // ok\r\n
Größe Žluťoučký ÉCOLE Привет мир 你好，世界 こんにちは 안녕하세요 مرحبا नमस्ते 👩‍👩‍👧 ﬁ é e\u0301\u00a0\u200b
${special.join(' x')} CamelCase snake_case /usr/bin --flag=1 https://a.b/c?d=e  \n   \n.`
}
