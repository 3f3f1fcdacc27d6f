/** Builds tokenizer.json and tokenizer_config.json from the metadata of a GGUF file. */
import { InputError } from '../../common/errors.js'
import { readModelGguf } from '../../io/gguf-parts.js'
import { preTokenizerRecipe } from './pre-tokenizers.js'
import type { TokenizerSource } from './tokenizer-json.js'

/** Token types of `tokenizer.ggml.token_type`. */
export const TokenType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

/** SentencePiece's mark of a space. */
export const SPACE_MARK = '\u2581'

export async function readTokenizerGguf(path: string): Promise<TokenizerSource | null> {
  const { metadata } = await readModelGguf(path)
  return tokenizerFromGguf(metadata, path)
}

/**
 * @param metadata of a GGUF file
 * @returns null if the file has no tokenizer
 * @throws InputError for an unknown kind of tokenizer, or malformed metadata
 */
export function tokenizerFromGguf(metadata: ReadonlyMap<string, unknown>, file: string): TokenizerSource | null {
  const source = sourceFromGguf(metadata, file)
  // Made on demand, since it is large and rarely written.
  return source && { ...source, files: () => filesOf(sourceFromGguf(metadata, file)!) }
}

type SourceWithoutFiles = Omit<TokenizerSource, 'files'>

function sourceFromGguf(metadata: ReadonlyMap<string, unknown>, file: string): SourceWithoutFiles | null {
  const kind = metadata.get('tokenizer.ggml.model')
  if (kind === undefined || kind === 'none' || kind === 'no_vocab') return null
  const vocabulary = readVocabulary(metadata, file)
  if (kind === 'gpt2') return byteLevelSource(vocabulary)
  if (kind === 'llama') return sentencePieceSource(vocabulary, mergesFromScores)
  if (kind === 'gemma4') return sentencePieceSource(vocabulary, mergesOf)
  throw new InputError(
    'unsupported-tokenizer',
    `${file} holds a tokenizer of kind "${kind}" (tokenizer.ggml.model), but only gpt2, llama and gemma4 are supported; load the model from a folder with its tokenizer.json instead.`,
  )
}

interface Vocabulary {
  file: string
  metadata: ReadonlyMap<string, unknown>
  tokens: string[]
  types: ArrayLike<number>
  flag(name: string, otherwise: boolean): boolean
}

function readVocabulary(metadata: ReadonlyMap<string, unknown>, file: string): Vocabulary {
  const tokens = metadata.get('tokenizer.ggml.tokens')
  if (!Array.isArray(tokens) || !tokens.every((token) => typeof token === 'string')) {
    throw new InputError('malformed-tokenizer', `${file}: expected a list of strings in tokenizer.ggml.tokens.`)
  }
  const types = metadata.get('tokenizer.ggml.token_type') as ArrayLike<number> | undefined
  if (types && types.length !== tokens.length) {
    throw new InputError(
      'malformed-tokenizer',
      `${file}: tokenizer.ggml.token_type has ${types.length} entries for ${tokens.length} tokens.`,
    )
  }
  return {
    file,
    metadata,
    tokens,
    types: types ?? new Int32Array(tokens.length).fill(TokenType.normal),
    flag(name, otherwise) {
      const value = metadata.get(`tokenizer.ggml.${name}`)
      return typeof value === 'boolean' ? value : otherwise
    },
  }
}

function byteLevelSource(vocabulary: Vocabulary): SourceWithoutFiles {
  const { metadata, file, tokens } = vocabulary
  const merges = mergesOf(vocabulary)
  const recipe = preTokenizerRecipe(String(metadata.get('tokenizer.ggml.pre') ?? 'default'), file)
  return finish(vocabulary, {
    addsBos: vocabulary.flag('add_bos_token', recipe.addsBos),
    idDefaults: {},
    normalizer: recipe.normalizer,
    preTokenizer: recipe.preTokenizer,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: recipe.ignoreMerges,
      vocab: idsByToken(tokens),
      merges,
    },
  })
}

function mergesOf({ metadata, file }: Vocabulary): string[] {
  const merges = metadata.get('tokenizer.ggml.merges')
  if (Array.isArray(merges)) return merges
  throw new InputError('malformed-tokenizer', `${file}: expected a list of strings in tokenizer.ggml.merges.`)
}

/** Makes a tokenizer that falls back to bytes, whose merges follow from scores, or are listed as in Gemma 4. */
function sentencePieceSource(
  vocabulary: Vocabulary,
  mergesIn: (vocabulary: Vocabulary) => readonly (string | [string, string])[],
): SourceWithoutFiles {
  const { tokens } = vocabulary
  const addsSpace = vocabulary.flag('add_space_prefix', true)
  const unknownId = Number(vocabulary.metadata.get('tokenizer.ggml.unknown_token_id') ?? 0)
  const step = (type: string, fields: object) => ({ type, ...fields })
  return finish(vocabulary, {
    addsBos: vocabulary.flag('add_bos_token', true),
    idDefaults: { bos: 1, eos: 2, unknown: 0 },
    normalizer: step('Sequence', {
      normalizers: [
        ...(addsSpace ? [step('Prepend', { prepend: SPACE_MARK })] : []),
        step('Replace', { pattern: { String: ' ' }, content: SPACE_MARK }),
      ],
    }),
    preTokenizer: null,
    decoder: step('Sequence', {
      decoders: [
        step('Replace', { pattern: { String: SPACE_MARK }, content: ' ' }),
        step('ByteFallback', {}),
        step('Fuse', {}),
        ...(addsSpace ? [step('Strip', { content: ' ', start: 1, stop: 0 })] : []),
      ],
    }),
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: tokens[unknownId] ?? null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: idsByToken(tokens),
      merges: mergesIn(vocabulary),
    },
  })
}

/** Limit in characters; by default SentencePiece makes tokens of up to 16. The time for each is quadratic in its length. */
const LONGEST_PIECE = 256

/**
 * Returns SentencePiece's rule, which joins the neighbours whose token has the best score, as a list of merges: every way to
 * make a token from two others, ordered by the token's score.
 */
function mergesFromScores({ metadata, tokens, types, file }: Vocabulary): [string, string][] {
  const scores = metadata.get('tokenizer.ggml.scores') as ArrayLike<number> | undefined
  if (scores?.length !== tokens.length) {
    throw new InputError(
      'malformed-tokenizer',
      `${file}: expected a score for each of ${tokens.length} tokens in tokenizer.ggml.scores.`,
    )
  }
  const isPiece = (id: number) => types[id] === TokenType.normal || types[id] === TokenType.userDefined
  const pieces = new Map(tokens.flatMap((token, id) => (isPiece(id) ? [[token, scores[id]!] as const] : [])))
  // Parts that are longer or shorter than any token are not looked up.
  const lengths = new Set([...pieces.keys()].map(({ length }) => length))
  const longest = Math.max(0, ...lengths)
  if (longest > LONGEST_PIECE) {
    throw new InputError(
      'malformed-tokenizer',
      `${file}: a token of ${longest} characters is more than SentencePiece makes merges of; at most ${LONGEST_PIECE} were expected in tokenizer.ggml.tokens.`,
    )
  }
  const merges: { pair: [string, string]; score: number }[] = []
  for (const [token, score] of pieces) {
    for (let i = 1; i < token.length; i++) {
      if (!lengths.has(i) || !lengths.has(token.length - i)) continue
      const pair: [string, string] = [token.slice(0, i), token.slice(i)]
      if (pieces.has(pair[0]) && pieces.has(pair[1])) merges.push({ pair, score })
    }
  }
  merges.sort((a, b) => b.score - a.score || b.pair[0].length - a.pair[0].length)
  return merges.map(({ pair }) => pair)
}

interface Parts {
  addsBos: boolean
  /** Default ids of special tokens, if the file names none. */
  idDefaults: { bos?: number; eos?: number; unknown?: number }
  normalizer: object | null
  preTokenizer: object | null
  decoder: object
  model: object
}

function finish(vocabulary: Vocabulary, parts: Parts): SourceWithoutFiles {
  const { metadata, tokens, types, file } = vocabulary
  const special = (name: string, otherwise?: number): string | undefined => {
    const id = metadata.get(`tokenizer.ggml.${name}_token_id`) ?? otherwise
    return id === undefined ? undefined : tokens[Number(id)]
  }
  const specialTokens = withoutUndefined({
    bos_token: special('bos', parts.idDefaults.bos),
    eos_token: special('eos', parts.idDefaults.eos),
    unk_token: special('unknown', parts.idDefaults.unknown),
    pad_token: special('padding'),
  })
  const chatTemplates = templatesOf(metadata)
  const json = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens(tokens, types),
    normalizer: parts.normalizer,
    pre_tokenizer: parts.preTokenizer,
    post_processor: postProcessor(parts.addsBos ? specialTokens.bos_token : undefined, tokens),
    decoder: parts.decoder,
    model: parts.model,
  }
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    add_bos_token: parts.addsBos,
    add_eos_token: vocabulary.flag('add_eos_token', false),
    ...specialTokens,
    clean_up_tokenization_spaces: false,
    ...(chatTemplates.size > 0 && { chat_template: templateField(chatTemplates) }),
  }
  return {
    json,
    config,
    specialTokens,
    chatTemplates,
    origin: file,
  }
}

/** Returns templates by name: `tokenizer.chat_template` is `default`, `tokenizer.chat_template.NAME` is NAME. */
function templatesOf(metadata: ReadonlyMap<string, unknown>): Map<string, string> {
  const templates = new Map<string, string>()
  for (const [key, value] of metadata) {
    const found = /^tokenizer\.chat_template(?:\.(.+))?$/.exec(key)
    if (found && typeof value === 'string') templates.set(found[1] ?? 'default', value)
  }
  return templates
}

/** Returns templates in the form of tokenizer_config.json: one text, or a list with names. */
function templateField(templates: ReadonlyMap<string, string>): unknown {
  const entries = [...templates].map(([name, template]) => ({ name, template }))
  return entries.length === 1 && entries[0]!.name === 'default' ? entries[0]!.template : entries
}

function filesOf({ json, config, specialTokens }: SourceWithoutFiles): Map<string, string> {
  return new Map([
    ['tokenizer.json', `${JSON.stringify(json, null, 1)}\n`],
    ['tokenizer_config.json', `${JSON.stringify(config, null, 2)}\n`],
    ['special_tokens_map.json', `${JSON.stringify(specialTokens, null, 2)}\n`],
  ])
}

/** Returns the added tokens: control tokens and the unknown one are special, user-defined ones are not. */
function addedTokens(tokens: readonly string[], types: ArrayLike<number>): object[] {
  return tokens.flatMap((content, id) => {
    const isSpecial = types[id] === TokenType.control || types[id] === TokenType.unknown
    if (content === '' || !(isSpecial || types[id] === TokenType.userDefined)) return []
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: isSpecial }]
  })
}

function postProcessor(bos: string | undefined, tokens: readonly string[]): object | null {
  if (bos === undefined) return null
  const before = { SpecialToken: { id: bos, type_id: 0 } }
  const sequence = (id: string, typeId: number) => ({ Sequence: { id, type_id: typeId } })
  return {
    type: 'TemplateProcessing',
    single: [before, sequence('A', 0)],
    pair: [before, sequence('A', 0), sequence('B', 1)],
    special_tokens: { [bos]: { id: bos, ids: [tokens.indexOf(bos)], tokens: [bos] } },
  }
}

function idsByToken(tokens: readonly string[]): Record<string, number> {
  return Object.fromEntries(tokens.map((token, id) => [token, id]))
}

function withoutUndefined(fields: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).filter((entry): entry is [string, string] => entry[1] !== undefined))
}
