/** The package that turns text into ids, set up for training: without special tokens of its own, and with words of any length. */
import { Tokenizer as Engine } from '@huggingface/tokenizers'
import { InputError } from '../../common/errors.js'
import { reasonOf } from '../../common/foreign-errors.js'
import { type Merge, type Merges, mergesOf, type Vocabulary } from './merges.js'
import type { TokenizerSource } from './source.js'
import { tokenCuts } from './token-cuts.js'

/** @throws InputError `malformed-tokenizer` */
export function createEngine({ json, config, origin }: TokenizerSource): Engine {
  const merges = mergesWithoutSuffix(json)
  const model = merges ? { ...(json.model as object), merges: [] } : json.model
  let engine: Engine
  try {
    engine = new Engine({ ...json, model }, engineConfig(config))
  } catch (cause) {
    const reason = reasonOf(cause, 'its parts do not fit together, or a regular expression is not valid')
    throw new InputError('malformed-tokenizer', `The tokenizer of ${origin} cannot be used: ${reason}.`, { cause })
  }
  // Special tokens are added here, by rule; what else a post-processor may do has no place in training.
  engine.post_processor = null
  engine.pre_tokenizer = shortWords(engine.pre_tokenizer, json, origin)
  if (merges) mergeBy(merges, engine)
  return engine
}

/** The merges of byte-pair encoding; null where the engine's own are needed, since tokens have suffixes there. */
function mergesWithoutSuffix({ model }: TokenizerSource['json']): Merges | null {
  const { merges, end_of_word_suffix, continuing_subword_suffix } = model as Record<string, unknown>
  return Array.isArray(merges) && !end_of_word_suffix && !continuing_subword_suffix ? merges : null
}

/** Merges words here. What the engine keeps beside its vocabulary, 15 MiB for 50,000 tokens, goes. */
function mergeBy(merges: Merges, engine: Engine): void {
  const model = engine.model as unknown as BytePairs
  if (!model.bpe) return
  const merge = mergesOf(merges, model)
  model.bpe = (word) => {
    const known = model.cache.get(word)
    if (known !== undefined) return known
    const tokens = merge(word)
    if (word.length < model.max_length_to_cache) model.cache.put(word, tokens)
    return tokens
  }
  model.config = {}
  Object.assign(engine, { tokenizer: {} })
}

/** What byte-pair encoding is made of in the engine. */
interface BytePairs extends Vocabulary {
  bpe: Merge
  config: object
  /** In characters. */
  readonly max_length_to_cache: number
  readonly cache: { get(word: string): string[] | undefined; put(word: string, tokens: string[]): void }
}

/** The entries of tokenizer_config.json that change ids. */
function engineConfig({ remove_space, do_lowercase_and_remove_accent }: TokenizerSource['config']): object {
  return {
    remove_space: remove_space === true,
    do_lowercase_and_remove_accent: do_lowercase_and_remove_accent === true,
  }
}

/** True of SentencePiece BPE, where only merges decide; byte fallback keeps unknown characters apart. */
function lacksWordSplitting(json: TokenizerSource['json']): boolean {
  const model = json.model as { type?: string; byte_fallback?: boolean; end_of_word_suffix?: string | null }
  const isPlain = model.type === 'BPE' && model.byte_fallback === true && !model.end_of_word_suffix
  return isPlain && !JSON.stringify(json.pre_tokenizer ?? null).includes('"ByteLevel"')
}

type PreTokenizer = Engine['pre_tokenizer']
type PreTokenize = (text: string, options?: object) => string[]

/** Characters: some hundred bytes are taken for each of one word. */
const LONGEST_WORD = 2 ** 20

/** Cuts the words of a pre-tokenizer where no token goes on, if words are not what decides, and refuses what is too long then. */
function shortWords(first: PreTokenizer, json: TokenizerSource['json'], origin: string): PreTokenizer {
  const split = first as unknown as PreTokenize | null
  const cut = lacksWordSplitting(json) ? tokenCuts(Object.keys((json.model as { vocab: object }).vocab)) : null
  const words: PreTokenize = (text, options) => {
    const found = split ? split(text, options) : [text]
    const short = cut ? found.flatMap(cut) : found
    const long = short.find(({ length }) => length > LONGEST_WORD)
    if (long === undefined) return short
    throw new InputError(
      'too-large',
      `The tokenizer of ${origin} makes a single word of ${long.length} characters of this text, and takes words of ${LONGEST_WORD}: give text with spaces or lines.`,
    )
  }
  return words as unknown as PreTokenizer
}

/**
 * The same vocabulary and merges without the space that SentencePiece puts before a text: shares everything but the two
 * parts that may add it.
 */
export function continuationOf(engine: Engine, { json, config, origin }: TokenizerSource): Engine {
  const withoutPrefix = { normalizer: stripPrefix(json.normalizer), pre_tokenizer: stripPrefix(json.pre_tokenizer) }
  const changed = (['normalizer', 'pre_tokenizer'] as const).filter(
    (part) => JSON.stringify(withoutPrefix[part]) !== JSON.stringify(json[part] ?? null),
  )
  if (changed.length === 0) return engine
  const emptyModel = { type: 'BPE', vocab: {}, merges: [] }
  const parts = new Engine({ ...json, ...withoutPrefix, added_tokens: [], model: emptyModel }, engineConfig(config))
  const continuation = Object.create(engine) as Engine
  continuation.normalizer = parts.normalizer
  if (changed.includes('pre_tokenizer')) continuation.pre_tokenizer = shortWords(parts.pre_tokenizer, json, origin)
  return continuation
}

/** A normalizer or pre-tokenizer of tokenizer.json without what it prepends. */
function stripPrefix(part: unknown): unknown {
  if (typeof part !== 'object' || part === null) return null
  const fields = part as Record<string, unknown>
  if (fields.type === 'Prepend') return { type: 'Prepend', prepend: '' }
  if (fields.type === 'Metaspace') return { ...fields, add_prefix_space: false, prepend_scheme: 'never' }
  if (fields.type === 'ByteLevel') return fields.add_prefix_space ? { ...fields, add_prefix_space: false } : fields
  for (const list of ['normalizers', 'pretokenizers']) {
    if (Array.isArray(fields[list])) return { ...fields, [list]: fields[list].map(stripPrefix) }
  }
  return fields
}
