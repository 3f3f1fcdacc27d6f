/** What tokenizer.json holds, as far as it is read: checked before the tokenizer library, which believes every entry. */
import { z } from 'zod'
import { InputError } from '../../common/errors.js'
import { isJsonObject } from '../../io/json.js'
import { schemaProblem } from '../../io/schema-problem.js'

/** More tokens than any tokenizer has; its engine makes a table of as many entries as the highest id. */
const MAX_ID = 2 ** 24
/** Longer tokens than any tokenizer has; what is made of each takes the square of its length. */
export const MAX_TOKEN_LENGTH = 4096

/** More steps than any part of a tokenizer has. */
const MAX_STEPS = 256
/** Characters of all added tokens; those of the largest vocabularies have some hundred thousand. */
const MAX_ADDED = 2 ** 20

const id = z.int().min(0).max(MAX_ID)
const token = z.string().max(MAX_TOKEN_LENGTH)
const text = token.optional()
const flag = z.boolean().nullable().optional()
const pattern = z.union([z.looseObject({ Regex: z.string().min(1) }), z.looseObject({ String: z.string().min(1) })], {
  error: 'expected an object with String or Regex',
})

const simple = <Names extends readonly string[]>(types: Names) => z.looseObject({ type: z.enum(types) })

const normalizer: z.ZodType = z.lazy(() =>
  z.discriminatedUnion('type', [
    z.looseObject({ type: z.literal('Sequence'), normalizers: z.array(normalizer) }),
    z.looseObject({ type: z.literal('Replace'), pattern, content: text }),
    z.looseObject({ type: z.literal('Prepend'), prepend: token }),
    z.looseObject({ type: z.literal('Strip'), strip_left: flag, strip_right: flag }),
    z.looseObject({
      type: z.literal('BertNormalizer'),
      clean_text: flag,
      handle_chinese_chars: flag,
      strip_accents: flag,
      lowercase: flag,
    }),
    simple(['Precompiled', 'NFC', 'NFD', 'NFKC', 'NFKD', 'StripAccents', 'Lowercase']),
  ]),
)

const preTokenizer: z.ZodType = z.lazy(() =>
  z.discriminatedUnion('type', [
    z.looseObject({ type: z.literal('Sequence'), pretokenizers: z.array(preTokenizer) }),
    z.looseObject({ type: z.literal('Split'), pattern, behavior: z.string(), invert: flag }),
    z.looseObject({ type: z.literal('Replace'), pattern, content: text }),
    z.looseObject({
      type: z.literal('Metaspace'),
      replacement: text,
      str_rep: text,
      prepend_scheme: z.string().optional(),
    }),
    z.looseObject({ type: z.literal('ByteLevel'), add_prefix_space: flag, use_regex: flag, trim_offsets: flag }),
    z.looseObject({ type: z.literal('Digits'), individual_digits: flag }),
    z.looseObject({ type: z.literal('FixedLength'), length: z.int().min(1) }),
    simple(['BertPreTokenizer', 'Whitespace', 'WhitespaceSplit', 'Punctuation']),
  ]),
)

const decoder: z.ZodType = z.lazy(() =>
  z.discriminatedUnion('type', [
    z.looseObject({ type: z.literal('Sequence'), decoders: z.array(decoder) }),
    z.looseObject({ type: z.literal('Replace'), pattern, content: text }),
    z.looseObject({ type: z.literal('Strip'), content: text, start: z.int().min(0), stop: z.int().min(0) }),
    z.looseObject({ type: z.literal('Metaspace'), replacement: text }),
    z.looseObject({ type: z.literal('WordPiece'), prefix: text, cleanup: flag }),
    z.looseObject({ type: z.literal('BPEDecoder'), suffix: token }),
    z.looseObject({ type: z.literal('CTC'), pad_token: text, word_delimiter_token: text, cleanup: flag }),
    simple(['ByteLevel', 'ByteFallback', 'Fuse']),
  ]),
)

const named = z.tuple([token, id])
const piece = z.looseObject({ SpecialToken: z.looseObject({ id: token }).optional() })

const postProcessor: z.ZodType = z.lazy(() =>
  z.discriminatedUnion('type', [
    z.looseObject({ type: z.literal('Sequence'), processors: z.array(postProcessor) }),
    z.looseObject({ type: z.literal('TemplateProcessing'), single: z.array(piece) }),
    z.looseObject({ type: z.enum(['BertProcessing', 'RobertaProcessing']), cls: named, sep: named }),
    simple(['ByteLevel']),
  ]),
)

/** Checked by loops: there are hundreds of thousands of entries. */
const listOf = (isFit: (entry: unknown) => boolean, what: string) =>
  z.custom<unknown[]>((value) => Array.isArray(value) && value.every(isFit), `expected ${what}`)

const isToken = (value: unknown): boolean => typeof value === 'string' && value.length <= MAX_TOKEN_LENGTH
const isId = (value: unknown): boolean =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_ID
const isMerge = (value: unknown): boolean =>
  typeof value === 'string' ? value.includes(' ') : Array.isArray(value) && value.length === 2 && value.every(isToken)
const isScored = (value: unknown): boolean => Array.isArray(value) && isToken(value[0]) && typeof value[1] === 'number'

function isVocabulary(value: unknown): boolean {
  if (!isJsonObject(value)) return false
  for (const name in value) if (!isToken(name) || !isId(value[name])) return false
  return true
}

const vocabulary = z.custom<Record<string, number>>(
  isVocabulary,
  `expected ids from 0 to ${MAX_ID} by tokens of up to ${MAX_TOKEN_LENGTH} characters`,
)
const optionalToken = token.nullable().optional()

const models: Record<string, z.ZodType> = {
  BPE: z.looseObject({
    vocab: vocabulary,
    merges: listOf(isMerge, 'pairs of tokens'),
    unk_token: optionalToken,
    end_of_word_suffix: optionalToken,
    continuing_subword_prefix: optionalToken,
    byte_fallback: flag,
    fuse_unk: flag,
    ignore_merges: flag,
  }),
  Unigram: z.looseObject({ vocab: listOf(isScored, 'tokens with scores'), unk_id: id.nullable().optional() }),
  WordPiece: z.looseObject({
    vocab: vocabulary,
    unk_token: token,
    continuing_subword_prefix: token,
    max_input_chars_per_word: z.int().min(1).optional(),
  }),
}

const addedToken = z.looseObject({
  id,
  content: token.min(1),
  special: flag,
  normalized: flag,
  single_word: flag,
  lstrip: flag,
  rstrip: flag,
})

const haveBoundedLength = (tokens: readonly { content: string }[]) =>
  tokens.reduce((sum, { content }) => sum + content.length, 0) <= MAX_ADDED

const partOf = (steps: z.ZodType) =>
  steps
    .nullable()
    .refine(
      (part) => JSON.stringify(part).split('"type"').length <= MAX_STEPS + 1,
      `expected at most ${MAX_STEPS} steps`,
    )

const parts = z.looseObject({
  added_tokens: z.array(addedToken).refine(haveBoundedLength, `expected at most ${MAX_ADDED} characters in all`),
  normalizer: partOf(normalizer),
  pre_tokenizer: partOf(preTokenizer),
  post_processor: partOf(postProcessor),
  decoder: partOf(decoder),
  model: z.looseObject({ type: z.enum(['BPE', 'Unigram', 'WordPiece']).optional() }),
})

/**
 * @param origin names the tokenizer in errors
 * @throws InputError `malformed-tokenizer` with the entry
 */
export function checkTokenizerJson(json: unknown, origin: string): void {
  const { model } = checkedPart(parts, json, origin)
  checkedPart(z.object({ model: models[model.type ?? 'BPE']! }), { model }, origin)
}

function checkedPart<S extends z.ZodType>(schema: S, value: unknown, origin: string): z.output<S> {
  const malformed = (problem: string) =>
    new InputError('malformed-tokenizer', `The tokenizer.json of ${origin} is malformed: ${problem}.`)
  let result: z.ZodSafeParseResult<z.output<S>>
  try {
    result = schema.safeParse(value)
  } catch (error) {
    if (error instanceof RangeError) throw malformed('its parts nest too deep')
    throw error
  }
  if (result.success) return result.data
  throw malformed(schemaProblem(result.error, 'the whole'))
}
