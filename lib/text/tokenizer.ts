/** Tokenizers of a Hugging Face folder or a GGUF file. */

import { createHash } from 'node:crypto'
import { statSync } from 'node:fs'
import { aText, check, expecting, having, optionsSchema } from '../common/arguments.js'
import { InputError, UsageError } from '../common/errors.js'
import { type HubOptions, hubKinds, locate } from '../hub/index.js'
import { isJsonObject } from '../io/json.js'
import { askTokenizer, type ChatTokenizer, type Conversation } from './isolated/client.js'
import type { MaskedChat } from './masks/mask-answers.js'
import { ChatTemplate, type Message, type RenderOptions } from './template.js'
import type { TemplateDefinition } from './templates/compiled-template.js'
import type { Encoded, TokenizerDefinition } from './tokenizer/engine.js'
import { readTokenizerFolder } from './tokenizer/from-folder.js'
import { readTokenizerGguf } from './tokenizer/from-gguf.js'
import { byteRuleOf } from './tokenizer/token-bytes.js'
import {
  addedTokensIn,
  isPrepending,
  plainJson,
  type TokenizerSource,
  tokensBefore,
  withoutPrefix,
} from './tokenizer/tokenizer-json.js'

/** Options of `decode`. */
export interface DecodeOptions {
  /** Leaves out control tokens such as end-of-turn marks; false by default. */
  skipSpecialTokens?: boolean
}

/**
 * Token ids with their places in the text. Several tokens that together form one character have the same place. White space
 * that an added token strips is not part of its place.
 */
export interface PlacedTokens {
  /** Token ids. */
  ids: number[]
  /** Start of each token, in UTF-16 units of the text. */
  starts: ArrayLike<number>
  /** End of each token, in UTF-16 units of the text. */
  ends: ArrayLike<number>
}

/** The bytes of tokens, which concatenated are the bytes of the text. */
export interface TokenBytes {
  /** Returns a token's bytes, which may begin or end within a character; none for an id without a token. */
  of(id: number): Uint8Array
  /** Whether a space at the beginning of a text is dropped. */
  readonly dropsSpace: boolean
}

const loadTokenizerArguments = {
  model: expecting('the path or hub id of a model', aText),
  options: optionsSchema('the options of loadTokenizer', hubKinds),
}

/**
 * Loads the tokenizer of a model: a folder with `tokenizer.json`, a `.gguf` file, or a hub id.
 *
 * ```ts
 * import { loadTokenizer } from 'node-mora'
 *
 * const tokenizer = await loadTokenizer('SmolLM2-135M-Instruct.Q4_1.gguf')
 * const ids = (await tokenizer?.encode('What is 17 + 25?')) ?? []
 * console.log(ids.length, await tokenizer?.decode(ids))
 * ```
 *
 * @returns null if the folder or GGUF file has no tokenizer
 * @throws UsageError for a path that does not exist or a tokenizer in another format
 * @throws InputError for malformed or unknown content
 */
export async function loadTokenizer(model: string, options: HubOptions = {}): Promise<Tokenizer | null> {
  check({ model, options }, loadTokenizerArguments)
  const { path } = await locate(model, 'tokenizer', options)
  const isFile = /\.gguf$/i.test(path) || statSync(path, { throwIfNoEntry: false })?.isFile()
  const source = isFile ? await readTokenizerGguf(path) : await readTokenizerFolder(path)
  return source && createTokenizer(source)
}

/** Schema of arguments that must be a tokenizer. */
export const aTokenizer = having('a tokenizer (loadTokenizer gives one)', 'encode', 'decode', 'specialIds')

/**
 * Creates a tokenizer from the content of tokenizer.json and tokenizer_config.json.
 * @throws InputError `malformed-tokenizer`, `tokenizer-failed`
 */
export async function createTokenizer(source: TokenizerSource): Promise<Tokenizer> {
  const { json, origin } = source
  const added = new Map(addedTokensOf(source).map((token) => [token.content, token]))
  const definition = { json: plainJson(json, origin), added: [...added.keys()], origin }
  const ids = (await askTokenizer(definition, { asks: 'added' })) as (number | null)[]
  const tokens = [...added.values()].flatMap((token, i) => (ids[i] === null ? [] : [{ ...token, id: ids[i]! }]))
  return new Tokenizer(source, definition, tokens)
}

interface AddedToken {
  id: number
  content: string
  special: boolean
}

function addedTokensOf({ json, origin }: TokenizerSource): Omit<AddedToken, 'id'>[] {
  const tokens = addedTokensIn(json, origin).filter(isJsonObject)
  return tokens.flatMap(({ content, special }) =>
    typeof content === 'string' ? [{ content, special: special === true }] : [],
  )
}

/**
 * Converts text to token ids and back, and has the chat templates of the same model. The work is done in another process, so that
 * a tokenizer's files cannot block or end this one. Texts that are passed without awaiting earlier ones are encoded together, on
 * several threads.
 *
 * An aborted `signal` rejects the promise with its reason. Encoding and decoding throw an InputError: `tokenizer-failed` if the
 * tokenizer takes too much time or memory or ends its process, `malformed-tokenizer` if it has no token for a part of the text.
 */
export class Tokenizer {
  /** The bytes of each token; null if a token's text depends on its neighbours. */
  readonly tokenBytes: TokenBytes | null
  /** One more than the highest id; a model's embedding may have more rows. */
  readonly vocabularySize: number
  /** The spelling of the token that begins a text; undefined if the model has none. */
  readonly bosToken: string | undefined
  /** The id of `bosToken`. */
  readonly bosId: number | undefined
  /** The spelling of the token that ends a text; undefined if the model has none. */
  readonly eosToken: string | undefined
  /** The id of `eosToken`. */
  readonly eosId: number | undefined
  /** The id of the padding token; undefined if the model has none. */
  readonly padId: number | undefined
  /** Ids of control tokens (BOS, EOS, end of turn, ...). */
  readonly specialIds: ReadonlySet<number>
  /** Ids of all tokens that are found in text before anything else is: control tokens and user-defined ones. */
  readonly addedIds: ReadonlySet<number>
  /** Spellings by the names that chat templates use: `bos_token`, `eos_token` and others. */
  readonly specialTokens: Readonly<Record<string, string>>
  /** Sources of the model's own chat templates by name; most have one, `default`. */
  readonly chatTemplates: ReadonlyMap<string, string>
  /** The model's own chat template. */
  readonly template: ChatTemplate | null
  /** sha256, hexadecimal, of everything that determines ids. */
  readonly hash: string
  /** Files to write beside a saved model: name to content. */
  readonly files: () => Map<string, string>

  readonly #definition: TokenizerDefinition
  readonly #continuation: TokenizerDefinition
  readonly #chat: ChatTokenizer
  readonly #ids: ReadonlyMap<string, number>
  readonly #tokens: ReadonlyMap<number, string>
  readonly #textPrefix: readonly number[]
  #longestToken = 0

  /** @internal */
  constructor(source: TokenizerSource, definition: TokenizerDefinition, added: readonly AddedToken[]) {
    const { json } = source
    this.#definition = definition
    this.#continuation = isPrepending(json)
      ? { ...definition, json: plainJson(withoutPrefix(json), source.origin) }
      : definition
    const ids = modelVocabulary(json.model)
    for (const { content, id } of added) ids.set(content, id)
    const tokens = new Map<number, string>()
    for (const [token, id] of ids) tokens.set(id, token)
    this.#ids = ids
    this.#tokens = tokens
    this.tokenBytes = this.#tokenBytes(json.decoder)
    this.vocabularySize = highest(this.#tokens.keys()) + 1
    this.addedIds = new Set(added.map(({ id }) => id))
    this.specialIds = new Set(added.filter(({ special }) => special).map(({ id }) => id))
    this.specialTokens = source.specialTokens
    this.bosToken = source.specialTokens.bos_token
    this.eosToken = source.specialTokens.eos_token
    this.bosId = this.#idOfSpecial('bos_token', source)
    this.eosId = this.#idOfSpecial('eos_token', source)
    this.padId = this.#idOfSpecial('pad_token', source)
    this.#textPrefix = tokensBefore(json.post_processor, source.origin).flatMap((token) => this.idOf(token) ?? [])
    this.chatTemplates = source.chatTemplates
    this.template = this.chatTemplates.size === 0 ? null : new ChatTemplate(templateOf(source))
    this.files = source.files
    this.hash = hashOf(definition, this.#textPrefix, this.eosId)
    this.#chat = {
      tokenizer: definition,
      continuation: this.#continuation,
      added: added.map(({ content, special }) => ({ text: content, isSpecial: special })),
      beginning: { bosId: this.bosId, bosToken: this.bosToken },
    }
  }

  /** Returns the ids of a text. Special tokens inside the text are parsed; none are added. */
  async encode(text: string, signal?: AbortSignal): Promise<number[]> {
    return Array.from((await encoded(this.#definition, text, false, signal)).ids)
  }

  /** Like `encode`, with the places of tokens. */
  async encodeWithPlaces(text: string, signal?: AbortSignal): Promise<PlacedTokens> {
    const { ids, starts, ends } = (await encoded(this.#definition, text, true, signal)) as Required<Encoded>
    return { ids: Array.from(ids), starts, ends }
  }

  /** Like `encode`, for text that follows other text: SentencePiece's leading space is not added. */
  async encodeContinuation(text: string, signal?: AbortSignal): Promise<number[]> {
    return Array.from((await encoded(this.#continuation, text, false, signal)).ids)
  }

  /** Renders a conversation and returns its tokens, with the mask of the assistant's tokens. */
  encodeAnswers(template: ChatTemplate, conversation: Conversation, signal?: AbortSignal): Promise<MaskedChat> {
    return template.answers(this.#chat, conversation, signal)
  }

  /** Like `encode`, with BOS in front if the tokenizer's own rule adds one and the text does not begin with it. */
  async encodeText(text: string, signal?: AbortSignal): Promise<number[]> {
    const ids = await this.encode(text, signal)
    const alreadyThere = this.#textPrefix.every((id, i) => ids[i] === id)
    return alreadyThere ? ids : [...this.#textPrefix, ...ids]
  }

  /** Returns the text of ids; ids without a token add nothing. */
  async decode(ids: ArrayLike<number>, { skipSpecialTokens = false }: DecodeOptions = {}): Promise<string> {
    const known = Array.from(ids).filter(
      (id) => this.#tokens.has(id) && !(skipSpecialTokens && this.specialIds.has(id)),
    )
    if (known.length === 0) return ''
    return (await askTokenizer(this.#definition, { asks: 'decoded', ids: known })) as string
  }

  /** Returns the id of a token by its exact spelling. */
  idOf(token: string): number | undefined {
    return this.#ids.get(token)
  }

  /** Returns the spelling of a token. */
  tokenOf(id: number): string | undefined {
    return this.#tokens.get(id)
  }

  /** Renders a conversation by the model's own template. @throws UsageError `no-chat-template` */
  async renderChat(messages: readonly Message[], options: RenderOptions): Promise<string> {
    if (!this.template) {
      throw new UsageError(
        'no-chat-template',
        'The model has no chat template; name a template file, or give text instead of messages.',
      )
    }
    return this.template.render(messages, options)
  }

  /**
   * Maximum number of bytes of a token: a text of n bytes has at least n / `longestToken` tokens, unless the tokenizer drops or
   * joins characters.
   */
  get longestToken(): number {
    if (this.#longestToken === 0) {
      // No spelling is shorter than its text.
      for (const token of this.#tokens.values())
        this.#longestToken = Math.max(this.#longestToken, Buffer.byteLength(token))
    }
    return this.#longestToken
  }

  #tokenBytes(decoder: unknown): TokenBytes | null {
    const rule = byteRuleOf(decoder)
    const of = (id: number) => rule!.bytesOf(this.#tokens.get(id) ?? '')
    return rule && { of, dropsSpace: rule.dropsSpace }
  }

  #idOfSpecial(name: string, source: TokenizerSource): number | undefined {
    const token = source.specialTokens[name]
    if (token === undefined) return undefined
    const id = this.idOf(token)
    if (id !== undefined) return id
    throw new InputError('malformed-tokenizer', `${source.origin}: its ${name} "${token}" is not in the vocabulary.`)
  }
}

function encoded(
  tokenizer: TokenizerDefinition,
  text: string,
  places: boolean,
  signal: AbortSignal | undefined,
): Promise<Encoded> {
  return askTokenizer(tokenizer, { asks: 'encoded', text, places }, signal) as Promise<Encoded>
}

/** Returns ids by tokens; the id of a Unigram piece is its index. */
function modelVocabulary(model: unknown): Map<string, number> {
  const { vocab } = model as { vocab: Record<string, number> | [string, number][] }
  const ids = new Map<string, number>()
  // Vocabularies have up to a million tokens: a list of entries would take as long as all else.
  if (Array.isArray(vocab)) for (const [id, [token]] of vocab.entries()) ids.set(token, id)
  else for (const token in vocab) ids.set(token, vocab[token]!)
  return ids
}

/** Returns the hash of everything that determines ids, the library included, so that rows of another library are not reused. */
function hashOf({ json }: TokenizerDefinition, textPrefix: readonly number[], eosId: number | undefined): string {
  const library = 'tokenizers 0.23'
  return createHash('sha256').update(json).update(JSON.stringify({ library, textPrefix, eosId })).digest('hex')
}

function highest(ids: Iterable<number>): number {
  let most = -1
  for (const id of ids) most = Math.max(most, id)
  return most
}

function templateOf({ chatTemplates, specialTokens, origin }: TokenizerSource): TemplateDefinition {
  const [source = null, toolSource] = ['default', 'tool_use'].map((name) => chatTemplates.get(name))
  return { source, toolSource, specialTokens, origin }
}
