/**
 * Rules by which byte-level BPE tokenizers split text into words, by the name in a GGUF file's `tokenizer.ggml.pre`.
 *
 * The patterns come from the models' own tokenizer.json files; a name stands for a family of models.
 */
import { InputError } from '../../common/errors.js'

interface PreTokenizerRecipe {
  /** Part of tokenizer.json. */
  normalizer: object | null
  /** Part of tokenizer.json. */
  preTokenizer: object
  /** Whether a word that is itself a token stays whole, whatever the merges are. */
  ignoreMerges: boolean
  /** Whether BOS is added if the file has no `add_bos_token`. */
  addsBos: boolean
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const WORD = '[^\\r\\n\\p{L}\\p{N}]?\\p{L}+'
const PUNCTUATION = ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*'
const PUNCTUATION_OR_PATH = ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*'
const SPACES = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'
const UPPER = '[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]'
const LOWER = '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]'
const CAPITALISED_WORD = `[^\\r\\n\\p{L}\\p{N}]?${UPPER}*${LOWER}+`
const CAPITALS = `[^\\r\\n\\p{L}\\p{N}]?${UPPER}+${LOWER}*`

const byteLevel = (useRegex: boolean) => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
})
const split = (...patterns: string[]) => ({
  type: 'Sequence',
  pretokenizers: [
    ...patterns.map((pattern) => ({ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false })),
    byteLevel(false),
  ],
})
const recipe = (preTokenizer: object, more: Partial<PreTokenizerRecipe> = {}): PreTokenizerRecipe => ({
  normalizer: null,
  preTokenizer,
  ignoreMerges: false,
  addsBos: false,
  ...more,
})

const gpt2 = recipe(byteLevel(true))
const digits = recipe({
  type: 'Sequence',
  pretokenizers: [{ type: 'Digits', individual_digits: true }, byteLevel(true)],
})
const threeDigits = split([CONTRACTIONS, WORD, '\\p{N}{1,3}', PUNCTUATION, SPACES].join('|'))
const qwen2 = recipe(split([CONTRACTIONS, WORD, '\\p{N}', PUNCTUATION, SPACES].join('|')), {
  normalizer: { type: 'NFC' },
})
const qwen35 = recipe(
  split(
    [
      CONTRACTIONS,
      '[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+',
      '\\p{N}',
      ' ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*',
      SPACES,
    ].join('|'),
  ),
  { normalizer: { type: 'NFC' } },
)
const llama3 = recipe(threeDigits, { ignoreMerges: true, addsBos: true })
const gpt4o = recipe(
  split(
    [
      `${CAPITALISED_WORD}${CONTRACTIONS}?`,
      `${CAPITALS}${CONTRACTIONS}?`,
      '\\p{N}{1,3}',
      PUNCTUATION_OR_PATH,
      SPACES,
    ].join('|'),
  ),
)
const tekken = recipe(split([CAPITALISED_WORD, CAPITALS, '\\p{N}', PUNCTUATION_OR_PATH, SPACES].join('|')), {
  ignoreMerges: true,
  addsBos: true,
})

const RECIPES: Record<string, PreTokenizerRecipe> = {
  default: gpt2,
  'gpt-2': gpt2,
  'phi-2': gpt2,
  mpt: gpt2,
  olmo: gpt2,
  smollm: digits,
  starcoder: digits,
  refact: digits,
  'command-r': digits,
  codeshell: digits,
  exaone: digits,
  'llama-bpe': llama3,
  lfm2: llama3,
  'llama-v3': llama3,
  llama3,
  dbrx: recipe(threeDigits),
  'smaug-bpe': recipe(threeDigits),
  qwen2,
  'deepseek-r1-qwen': qwen2,
  qwen35,
  'gpt-4o': gpt4o,
  llama4: gpt4o,
  tekken,
}

/** The names to write if several have equal recipes. */
const WRITTEN_NAMES = ['gpt-2', 'smollm', 'qwen2', 'qwen35', 'llama-bpe', 'dbrx', 'gpt-4o', 'tekken']

/** Returns the name of the pre-tokenizer in a tokenizer.json; null if it is unknown. */
export function preTokenizerName(json: Readonly<Record<string, unknown>>): string | null {
  const { ignore_merges = false } = json.model as { ignore_merges?: boolean }
  const found = WRITTEN_NAMES.find((name) => {
    const { normalizer, preTokenizer, ignoreMerges } = RECIPES[name]!
    return (
      ignoreMerges === ignore_merges &&
      sameSteps(normalizer, json.normalizer) &&
      sameSteps(preTokenizer, json.pre_tokenizer)
    )
  })
  return found ?? null
}

function sameSteps(a: unknown, b: unknown): boolean {
  return JSON.stringify(stepsOf(a)) === JSON.stringify(stepsOf(b))
}

/** Returns the steps of a normalizer or pre-tokenizer, with the fields that affect their results. */
function stepsOf(part: unknown): unknown[] {
  if (typeof part !== 'object' || part === null) return []
  const { type, normalizers, pretokenizers, ...fields } = part as Record<string, unknown>
  if (type === 'Sequence') return ((normalizers ?? pretokenizers) as unknown[]).flatMap(stepsOf)
  if (type === 'ByteLevel') {
    const { add_prefix_space: prefix = true, use_regex: splits = true } = fields
    return [{ type, prefix, splits }]
  }
  if (type === 'Split') {
    const { pattern, behavior, invert = false } = fields
    return [{ type, pattern, behavior, invert }]
  }
  return [{ type, ...fields }]
}

/**
 * @param name value of `tokenizer.ggml.pre`; a file without it is read as `default`
 * @throws InputError for an unknown name, since guessing would silently give wrong ids
 */
export function preTokenizerRecipe(name: string, file: string): PreTokenizerRecipe {
  const found = Object.hasOwn(RECIPES, name) ? RECIPES[name] : undefined
  if (found) return found
  throw new InputError(
    'unknown-pre-tokenizer',
    `${file} names the pre-tokenizer "${name}" (tokenizer.ggml.pre), which is not among the known ones ` +
      `(${Object.keys(RECIPES).sort().join(', ')}); load the model from a folder with its tokenizer.json instead.`,
  )
}
