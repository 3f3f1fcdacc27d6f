/** Text to token ids and back, from a Hugging Face folder or a GGUF file. */
import { createHash } from 'node:crypto'
import type { Tokenizer as Engine } from '@huggingface/tokenizers'
import { aText, described, having, requireArgument, requireOptionsOf } from '../../common/arguments.js'
import { InputError, UsageError } from '../../common/errors.js'
import { reasonOf } from '../../common/foreign-errors.js'
import { type HubOptions, hubKinds, locate } from '../../hub/index.js'
import type { TemplateDefinition } from '../templates/compiled-template.js'
import { ChatTemplate, type Message, type RenderOptions } from '../templates/template.js'
import { continuationOf, createEngine } from './engine.js'
import { readTokenizerFolder } from './from-folder.js'
import { readTokenizerGguf } from './from-gguf.js'
import { requireQuickPatterns } from './quick-patterns.js'
import { checkTokenizerJson } from './schema.js'
import { checkEngineSupport, type TokenizerSource } from './source.js'

/** How `decode` turns ids into text. */
export interface DecodeOptions {
  /** Leaves out control tokens such as end-of-turn marks; false by default. */
  skipSpecialTokens?: boolean
}

/** Text to token ids and back, with the chat templates of the same model. */
export interface Tokenizer {
  /** Ids of a text. Special tokens inside the text are parsed; nothing is added. */
  encode(text: string): number[]
  /** Like `encode`, of text that goes on after other text: SentencePiece's leading space is not added. */
  encodeContinuation(text: string): number[]
  /** Like `encode`, with BOS before it where the tokenizer's own rule adds one and the text has none yet. */
  encodeText(text: string): number[]
  /** The text of ids; ids that name no token add nothing. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string
  /** The id of a token by its exact spelling. */
  idOf(token: string): number | undefined
  /** The spelling of a token. */
  tokenOf(id: number): string | undefined
  /** One more than the highest id; a model's embedding may have more rows. */
  readonly vocabularySize: number
  /** The spelling of the token that begins a text; undefined where the model has none. */
  readonly bosToken: string | undefined
  /** The id of `bosToken`. */
  readonly bosId: number | undefined
  /** The spelling of the token that ends a text; undefined where the model has none. */
  readonly eosToken: string | undefined
  /** The id of `eosToken`. */
  readonly eosId: number | undefined
  /** The id of the padding token; undefined where the model has none. */
  readonly padId: number | undefined
  /** Ids of control tokens (BOS, EOS, end of turn, ...). */
  readonly specialIds: ReadonlySet<number>
  /** Ids of all tokens that are found in text before anything else is: control tokens and user-defined ones. */
  readonly addedIds: ReadonlySet<number>
  /** `bos_token`, `eos_token`, ... as a chat template names them. */
  readonly specialTokens: Readonly<Record<string, string>>
  /** Sources of the model's own chat templates by name; most have one, `default`. */
  readonly chatTemplates: ReadonlyMap<string, string>
  /** The model's own chat template. */
  readonly template: ChatTemplate | null
  /** @throws UsageError `no-chat-template` */
  renderChat(messages: readonly Message[], options: RenderOptions): Promise<string>
  /** sha256, hexadecimal, of everything that decides ids. */
  readonly hash: string
  /** Files to write beside a saved model: name to content. */
  files(): Map<string, string>
}

/**
 * The tokenizer of a model: a folder with `tokenizer.json`, a `.gguf` file, or a hub id.
 *
 * @returns null where a folder has no tokenizer, or a GGUF file holds none
 * @throws UsageError of a path that does not exist or a tokenizer in another format
 * @throws InputError of malformed or unknown content
 */
export async function loadTokenizer(model: string, options: HubOptions = {}): Promise<Tokenizer | null> {
  requireArgument('model', model, described(aText, 'the path or hub id of a model'))
  requireOptionsOf('the options of loadTokenizer', options, hubKinds)
  const { path } = await locate(model, 'tokenizer', options)
  const source = /\.gguf$/i.test(path) ? await readTokenizerGguf(path) : await readTokenizerFolder(path)
  return source && createTokenizer(source)
}

/** What goes where a tokenizer is asked for. */
export const aTokenizer = having('a tokenizer (loadTokenizer gives one)', 'encode', 'decode', 'specialIds')

/** A tokenizer from the content of tokenizer.json and tokenizer_config.json. */
export function createTokenizer(source: TokenizerSource): Tokenizer {
  return new EngineTokenizer(source)
}

class EngineTokenizer implements Tokenizer {
  readonly vocabularySize: number
  readonly bosToken: string | undefined
  readonly bosId: number | undefined
  readonly eosToken: string | undefined
  readonly eosId: number | undefined
  readonly padId: number | undefined
  readonly specialIds: ReadonlySet<number>
  readonly addedIds: ReadonlySet<number>
  readonly specialTokens: Readonly<Record<string, string>>
  readonly chatTemplates: ReadonlyMap<string, string>
  readonly template: ChatTemplate | null
  readonly hash: string
  readonly files: () => Map<string, string>

  readonly #engine: Engine
  readonly #continuation: Engine
  readonly #textPrefix: readonly number[]
  readonly #origin: string

  constructor(source: TokenizerSource) {
    const { json, origin } = source
    checkTokenizerJson(json, origin)
    checkEngineSupport(source)
    this.#origin = origin
    this.#engine = createEngine(source)
    requireQuickPatterns(json, (text) => this.encode(text), origin)
    this.#continuation = continuationOf(this.#engine, source)
    this.vocabularySize = vocabularyOf(this.#engine).length
    const added = [...this.#engine.get_added_tokens_decoder()]
    this.addedIds = new Set(added.map(([id]) => id))
    this.specialIds = new Set(added.filter(([, token]) => token.special).map(([id]) => id))
    this.specialTokens = source.specialTokens
    this.bosToken = source.specialTokens.bos_token
    this.eosToken = source.specialTokens.eos_token
    this.bosId = this.#idOfSpecial('bos_token', source)
    this.eosId = this.#idOfSpecial('eos_token', source)
    this.padId = this.#idOfSpecial('pad_token', source)
    this.#textPrefix = tokensBefore(json.post_processor).flatMap((token) => this.idOf(token) ?? [])
    this.chatTemplates = source.chatTemplates
    this.template = this.chatTemplates.size === 0 ? null : new ChatTemplate(templateOf(source))
    this.files = source.files
    this.hash = hashOf(source, this.#textPrefix, this.eosId)
  }

  encode(text: string): number[] {
    return this.#idsBy(this.#engine, text)
  }

  encodeContinuation(text: string): number[] {
    return this.#idsBy(this.#continuation, text)
  }

  encodeText(text: string): number[] {
    const ids = this.encode(text)
    const alreadyThere = this.#textPrefix.every((id, i) => ids[i] === id)
    return alreadyThere ? ids : [...this.#textPrefix, ...ids]
  }

  decode(ids: ArrayLike<number>, { skipSpecialTokens = false }: DecodeOptions = {}): string {
    const known = Array.from(ids).filter(
      (id) => this.tokenOf(id) !== undefined && !(skipSpecialTokens && this.specialIds.has(id)),
    )
    if (known.length === 0) return ''
    const decode = () => this.#engine.decode(known, { clean_up_tokenization_spaces: false })
    return this.#guarded('decode these ids', decode)
  }

  idOf(token: string): number | undefined {
    return this.#engine.token_to_id(token)
  }

  tokenOf(id: number): string | undefined {
    return this.#engine.id_to_token(id)
  }

  async renderChat(messages: readonly Message[], options: RenderOptions): Promise<string> {
    if (!this.template) {
      throw new UsageError(
        'no-chat-template',
        'The model has no chat template; name a template file, or give text instead of messages.',
      )
    }
    return this.template.render(messages, options)
  }

  #idsBy(engine: Engine, text: string): number[] {
    const encode = () => engine.encode(text, { add_special_tokens: false }).ids
    const ids: (number | null | undefined)[] = this.#guarded('encode this text', encode)
    if (ids.every((id) => typeof id === 'number')) return ids
    throw new InputError(
      'malformed-tokenizer',
      `The tokenizer of ${this.#origin} has no token for a part of this text, and none for what is unknown.`,
    )
  }

  /** What the library does with this tokenizer: failures are the tokenizer's. */
  #guarded<Result>(what: string, work: () => Result): Result {
    try {
      return work()
    } catch (cause) {
      if (cause instanceof InputError) throw cause
      const reason = reasonOf(cause, 'its files contradict each other')
      throw new InputError('malformed-tokenizer', `The tokenizer of ${this.#origin} cannot ${what}: ${reason}.`, {
        cause,
      })
    }
  }

  #idOfSpecial(name: string, source: TokenizerSource): number | undefined {
    const token = source.specialTokens[name]
    if (token === undefined) return undefined
    const id = this.idOf(token)
    if (id !== undefined) return id
    throw new InputError('malformed-tokenizer', `${source.origin}: its ${name} "${token}" is not in the vocabulary.`)
  }
}

function templateOf({ chatTemplates, specialTokens, origin }: TokenizerSource): TemplateDefinition {
  const [source = null, toolSource] = ['default', 'tool_use'].map((name) => chatTemplates.get(name))
  return { source, toolSource, specialTokens, origin }
}

/** Tokens that a post-processor puts before a single text. */
function tokensBefore(processor: unknown): string[] {
  if (typeof processor !== 'object' || processor === null) return []
  const { type, processors, single, cls } = processor as Record<string, unknown>
  if (type === 'Sequence') return (processors as unknown[]).flatMap(tokensBefore)
  if (type === 'BertProcessing' || type === 'RobertaProcessing') return [(cls as [string, number])[0]]
  if (type !== 'TemplateProcessing') return []
  const items = single as { SpecialToken?: { id: string } }[]
  const sequence = items.findIndex((item) => !item.SpecialToken)
  return items.slice(0, sequence).map((item) => item.SpecialToken!.id)
}

function vocabularyOf(engine: Engine): ArrayLike<string> {
  return (engine.model as unknown as { vocab: string[] }).vocab
}

function hashOf({ json }: TokenizerSource, textPrefix: readonly number[], eosId: number | undefined): string {
  const { normalizer, pre_tokenizer, model, added_tokens } = json
  return createHash('sha256')
    .update(JSON.stringify({ normalizer, pre_tokenizer, model, added_tokens, textPrefix, eosId }))
    .digest('hex')
}
