/** Reads the tokenizer files of a model folder in Hugging Face's layout. */
import { access, readdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { InputError, UsageError } from '../../common/errors.js'
import { isJsonObject, parseJson } from '../../io/json.js'
import { readText } from '../../io/open.js'
import { addedTokensIn, type TokenizerSource } from './tokenizer-json.js'

/** Files of tokenizers in formats that are not supported. */
const OTHER_FORMATS = ['tokenizer.model', 'vocab.json', 'vocab.txt', 'tekken.json', 'spiece.model']

/** Folder of named templates. */
const NAMED_TEMPLATES = 'additional_chat_templates'

const SPECIAL_TOKEN_NAMES = [
  'bos_token',
  'eos_token',
  'unk_token',
  'pad_token',
  'sep_token',
  'cls_token',
  'mask_token',
] as const

/**
 * @returns null if the folder has no tokenizer at all
 * @throws UsageError `missing-file`, `unsupported-tokenizer`
 * @throws InputError for malformed files
 */
export async function readTokenizerFolder(folder: string): Promise<TokenizerSource | null> {
  const files = new Map<string, string>()
  for (const name of ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'chat_template.jinja']) {
    const text = await readIfThere(join(folder, name))
    if (text !== undefined) files.set(name, text)
  }
  if (!files.has('tokenizer.json')) return noTokenizer(folder)
  const named = await readdir(join(folder, NAMED_TEMPLATES)).catch((): string[] => [])
  for (const name of named.filter((file) => file.endsWith('.jinja')).sort()) {
    const text = await readIfThere(join(folder, NAMED_TEMPLATES, name))
    if (text !== undefined) files.set(`${NAMED_TEMPLATES}/${name}`, text)
  }

  const object = (name: string): Record<string, unknown> => {
    const text = files.get(name)
    if (text === undefined) return {}
    const value = parseJson(text, join(folder, name))
    if (isJsonObject(value)) return value
    throw new InputError('malformed-file', `${join(folder, name)}: expected a JSON object.`)
  }
  const config = object('tokenizer_config.json')
  return {
    json: completeJson(object('tokenizer.json'), config, folder),
    config,
    specialTokens: specialTokensOf({ ...object('special_tokens_map.json'), ...withoutNulls(config) }),
    chatTemplates: new Map([...templatesOf(config.chat_template), ...templateFiles(files)]),
    origin: folder,
    files: () => new Map(files),
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readText(path)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new UsageError('unreadable-file', `${path} cannot be read: ${(cause as Error).message}.`, { cause })
  }
}

async function noTokenizer(folder: string): Promise<null> {
  const facts = await stat(folder).catch(() => undefined)
  if (!facts?.isDirectory()) {
    throw new UsageError('missing-file', `${folder} is neither a folder nor a .gguf file.`)
  }
  for (const name of OTHER_FORMATS) {
    const exists = await access(join(folder, name)).then(
      () => true,
      () => false,
    )
    if (exists) {
      throw new UsageError(
        'unsupported-tokenizer',
        `${folder} has ${name} but no tokenizer.json; save its tokenizer once with transformers' AutoTokenizer, which writes one.`,
      )
    }
  }
  return null
}

/** Adds what older files leave out: absent parts, and added tokens that only tokenizer_config.json lists. */
function completeJson(
  json: Record<string, unknown>,
  config: Record<string, unknown>,
  origin: string,
): Record<string, unknown> {
  const added = addedTokensIn(json, origin)
  const known = new Set(added.map((token) => (isJsonObject(token) ? token.id : undefined)))
  const decoder = isJsonObject(config.added_tokens_decoder) ? config.added_tokens_decoder : {}
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: false }
  const missing = Object.entries(decoder).flatMap(([id, token]) =>
    known.has(Number(id)) ? [] : [{ ...plain, ...(token as object), id: Number(id) }],
  )
  return {
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    ...json,
    added_tokens: [...added, ...missing],
  }
}

function withoutNulls(config: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== null))
}

/** Special tokens are written as strings or as objects with `content`. */
function specialTokensOf(fields: Record<string, unknown>): Record<string, string> {
  const tokens: Record<string, string> = {}
  for (const name of SPECIAL_TOKEN_NAMES) {
    const value = fields[name]
    const content = isJsonObject(value) ? value.content : value
    if (typeof content === 'string' && content !== '') tokens[name] = content
  }
  return tokens
}

/** `chat_template` is a string, or a list of named templates. */
function templatesOf(value: unknown): [name: string, source: string][] {
  if (typeof value === 'string') return [['default', value]]
  const entries = Array.isArray(value) ? value.filter(isJsonObject) : []
  return entries.flatMap(({ name, template }) =>
    typeof name === 'string' && typeof template === 'string' ? [[name, template]] : [],
  )
}

function templateFiles(files: ReadonlyMap<string, string>): [name: string, source: string][] {
  return [...files].flatMap(([path, source]) => {
    if (path === 'chat_template.jinja') return [['default', source]]
    return path.startsWith(NAMED_TEMPLATES) ? [[basename(path, '.jinja'), source]] : []
  })
}
