import { InputError, quoted, UsageError } from '../../common/errors.js'
import { asMessage } from '../../common/printable.js'
import { isJsonObject, type JsonObject } from '../../io/json.js'
import type { ModelConfig } from '../network/model-config.js'
import { withPrefix } from '../network/plan.js'
import { ConfigReader } from './config-reader.js'
import { families } from './index.js'

/**
 * Models that wrap a text model (`…ForConditionalGeneration`), by `model_type`: their configuration is `text_config`, and their
 * modules lie below `WRAPPED_PREFIX`; towers, projectors and other tensors are kept as they are. `text` is the text model's
 * `model_type` where `text_config` has none; `tied`, whether the head is tied where the outer configuration does not say (that of
 * `text_config` is not read).
 */
const wrappers: ReadonlyMap<unknown, { readonly text: string; readonly tied: boolean }> = new Map([
  ['gemma3', { text: 'gemma3_text', tied: true }],
  ['gemma4', { text: 'gemma4_text', tied: true }],
  ['gemma4_unified', { text: 'gemma4_unified_text', tied: true }],
  ['mistral3', { text: 'mistral', tied: true }],
  ['qwen3_5', { text: 'qwen3_5_text', tied: false }],
])

/** The prefix of the text model's modules in a wrapped model, in adapters too; `model.` in its own class. */
const WRAPPED_PREFIX = 'model.language_model.'

/** Ends the list of families in the error about another kind of model. */
export const WITHOUT_EXPERTS = ', all of them without experts: take a model that has none'

/**
 * Reads and checks a configuration. Options that transformers reads for its `model_type` and this package does not support are
 * refused by name; `onWarning` is called for keys that neither reads. `source` names the file.
 */
export function parseConfig(json: JsonObject, source: string, onWarning?: (message: string) => void): ModelConfig {
  requireWholeModel(json, source)
  const wrapper = wrappers.get(json.model_type)
  if (wrapper) return parseWrapped(wrapper, json, source, onWarning)
  const family = families.find((candidate) => candidate.modelType === json.model_type)
  if (!family) {
    const known = [...families.map((candidate) => candidate.modelType), ...wrappers.keys()].join(', ')
    const { model_type: named = 'without model_type', text_config: wrapped } = json
    const hasExperts = Object.keys(json).some((name) => /_experts$/.test(name))
    const wayOut = hasExperts ? WITHOUT_EXPERTS : ''
    const why = isJsonObject(wrapped)
      ? ` yet: it wraps ${quoted(wrapped.model_type)}, a text model, in text_config`
      : ''
    throw new UsageError(
      'unsupported-architecture',
      `${source}: architecture ${typeof named === 'string' ? named : JSON.stringify(named)} is not supported${why}; supported: ${known}${wayOut}.`,
    )
  }
  const read = new ConfigReader(family.completed?.(json) ?? json, source)
  const { sizes, tiedEmbeddings, network } = family.read(read)
  const labels = labelsIn(json, source)
  const config: ModelConfig = {
    architecture: family.modelType,
    ...sizes,
    tiedEmbeddings: tiedEmbeddings || labels !== undefined,
    ...(labels && { labels }),
    network,
    initializerRange: read.number('initializer_range', 0.02),
    eosIds: eosIdsIn(json, source, sizes.vocabularySize),
    json,
  }
  const unread = read.unread()
  const how = `keys are ignored, as transformers ignores them for ${family.modelType}`
  if (unread.length > 0) onWarning?.(asMessage(`${source}: ${how}: ${unread.join(', ')}.`))
  return config
}

/**
 * Returns the ids of `eos_token_id`: none, one or several.
 * @throws InputError if it holds anything but ids of the vocabulary, since no token would end a text
 */
export function eosIdsIn({ eos_token_id: given }: JsonObject, source: string, vocabularySize: number): number[] {
  const ids = [given ?? []].flat()
  const malformed = (expected: string, found: unknown) =>
    new InputError('malformed-file', `${source}: expected ${expected} for eos_token_id but found ${quoted(found)}.`)
  if (!ids.every((id): id is number => Number.isInteger(id))) throw malformed('a token id or a list of them', given)
  const outside = ids.find((id) => id < 0 || id >= vocabularySize)
  if (outside === undefined) return ids
  throw malformed(`ids of the model's vocabulary, from 0 to ${vocabularySize - 1},`, outside)
}

/** Keys of draft models, which guess the tokens of another model, and the classes that are no whole language models. */
const draftKey = /draft|eagle|dflash|medusa|speculat|dspark|domino|(^|_)target_(model|hidden|layer|vocab)/i
const CLASS =
  /^(?:FSDP)?(\w+?)(?:Text)?(?:ForCausalLM|LMHeadModel|ForConditionalGeneration|ForSequenceClassification|Model)$/
const plain = (name: string): string => name.toLowerCase().replaceAll(/_text$|_/g, '')

/**
 * Throws if a configuration of a known `model_type` is that of another kind of model: of a draft model, or of a class that has not
 * the family's name and one of the endings of language models, classifiers and models without a head.
 */
function requireWholeModel(json: JsonObject, source: string): void {
  const stems = new Set([...families.map(({ modelType }) => modelType), ...wrappers.keys()].map(String).map(plain))
  if (typeof json.model_type !== 'string' || !stems.has(plain(json.model_type))) return
  const refuse = (what: string) => {
    throw new UsageError('unsupported-architecture', `${source} has ${what}.`)
  }
  const [named] = [json.architectures ?? []].flat()
  const stem = typeof named === 'string' ? CLASS.exec(named)?.[1] : undefined
  const key = Object.keys(json).find((name) => draftKey.test(name) && json[name] !== null)
  const isDraft = key !== undefined || (typeof named === 'string' && draftKey.test(named))
  const wayOut = 'which guesses the tokens of another model: give that one'
  if (isDraft) refuse(`${key ?? `architectures ${quoted(named)}`}, so it is a draft model, ${wayOut}`)
  if (named !== undefined && !(stem !== undefined && stems.has(plain(stem)))) {
    const expected = 'such as LlamaForCausalLM, or a classifier (…ForSequenceClassification)'
    refuse(`architectures ${quoted(named)}, which is not supported; expected a language model, ${expected}`)
  }
}

/** The end of the name of a class with a head of labels. */
export const CLASSIFIER = 'ForSequenceClassification'

/** Returns the names of the labels of a model with a head of its own; without any, transformers means two. */
function labelsIn({ architectures, id2label }: JsonObject, source: string): string[] | undefined {
  const [named] = Array.isArray(architectures) ? architectures : []
  if (typeof named !== 'string' || !named.endsWith(CLASSIFIER)) return undefined
  const names = isJsonObject(id2label) ? id2label : { 0: 'LABEL_0', 1: 'LABEL_1' }
  return Object.keys(names).map((_, i) => {
    const name = names[String(i)]
    if (typeof name === 'string') return name
    throw new InputError('malformed-file', `${source}: expected a name for label ${i} in id2label but found none.`)
  })
}

/** Parses `text_config`; the keys beside it are about towers, but for special tokens and whether the head is tied. */
function parseWrapped(
  { text: usual, tied }: { readonly text: string; readonly tied: boolean },
  json: JsonObject,
  source: string,
  onWarning?: (message: string) => void,
): ModelConfig {
  const read = new ConfigReader(json, source)
  const inner = read.value('text_config') ?? {}
  if (!isJsonObject(inner)) throw read.malformed('text_config', 'an object', inner)
  const tie_word_embeddings = read.flag('tie_word_embeddings', tied)
  const own = {
    model_type: usual,
    ...inner,
    tie_word_embeddings,
    eos_token_id: json.eos_token_id ?? inner.eos_token_id,
  }
  const text = parseConfig(own, `${source}, text_config`, onWarning)
  const network = withPrefix(text.network, text.network.basePrefix, WRAPPED_PREFIX)
  if (labelsIn(json, source))
    throw read.unsupported('architectures', json.architectures, 'it wraps a text model, and its head is not read')
  return { ...text, architecture: String(json.model_type), network, json, text }
}
