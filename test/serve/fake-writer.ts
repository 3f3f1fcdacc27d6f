/** A writer that says what a test wants, a token at a time, and counts what it holds. */
import { readFileSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { readTokenizerFolder } from '../../lib/data/tokenizer/from-folder.js'
import { createTokenizer, type Tokenizer } from '../../lib/data/tokenizer/tokenizer.js'
import type { EngineUsage } from '../../lib/engine/index.js'
import type { TokenText } from '../../lib/generate/index.js'
import { listenServer } from '../../lib/serve/listen-server.js'
import { type ServerSettings, serveTexts } from '../../lib/serve/model-server.js'
import type { ServedModel } from '../../lib/serve/served-adapters.js'
import type { TextCall, TextPiece, TextWriter, WrittenText } from '../../lib/serve/text-writer.js'
import { smallTokenizerFolder, templatePath } from '../data/tokenizer/small-tokenizer.js'

/** What the writer says to a call: pieces of one token each; `end` is why it stops after them. */
export interface Script {
  pieces: readonly Partial<TextPiece>[]
  end?: WrittenText['finishReason']
}

const MOST_PAGES = 1000
const MAX_POSITIONS = 256

export const CHATML = readFileSync(templatePath('chatml'), 'utf8')
/** ChatML that also prints tools. */
export const CHATML_WITH_TOOLS = `{% if tools %}{{ '<|im_start|>system\\n' + (tools | tojson) + '<|im_end|>\\n' }}{% endif %}\n${CHATML}`

export async function loadChatTokenizer(template = CHATML_WITH_TOOLS): Promise<Tokenizer> {
  const source = (await readTokenizerFolder(smallTokenizerFolder))!
  return createTokenizer({ ...source, chatTemplates: new Map([['default', template]]) })
}

export class FakeWriter implements TextWriter {
  readonly calls: TextCall[] = []
  readonly model: ServedModel & { adapters: Map<string, string> }
  readonly #running = new Set<TextCall>()
  /** Work on the model that waits for texts or others, as `exclusive` runs it. */
  #exclusive: Promise<unknown> = Promise.resolve()
  isClosed = false
  readonly aliases = new Map<string, string>()
  readonly inTraining = new Set<string>()
  /** What to say; by default "Hi there". */
  say: (call: TextCall) => Script | Promise<Script> = () => ({ pieces: [{ text: 'Hi' }, { text: ' there' }] })
  /** What happens before each token. */
  step: (call: TextCall, index: number) => Promise<unknown> = () => nextTurn()

  constructor(tokenizer: Tokenizer) {
    const adapters = new Map<string, string>()
    this.model = {
      path: '',
      config: { eosIds: [tokenizer.eosId!], maxPositions: MAX_POSITIONS, vocabularySize: tokenizer.vocabularySize },
      tokenizer,
      adapters,
      adapterSet: {
        activeNames: () => [],
        provenance: () => ({}),
        alias: (name, adapter) => void (adapter === null ? this.aliases.delete(name) : this.aliases.set(name, adapter)),
        isInTraining: (name) => this.inTraining.has(name),
      },
      loadAdapter: async (path, name) => adapters.set(name, path),
      removeAdapter: (name) => void adapters.delete(name),
    }
  }

  get usage(): EngineUsage {
    const pagesUsed = this.#running.size
    return { running: this.#running.size, waiting: 0, pagesUsed, pagesFree: MOST_PAGES - pagesUsed }
  }

  async *stream(call: TextCall): AsyncGenerator<TextPiece, WrittenText> {
    this.calls.push(call)
    this.#running.add(call)
    try {
      const { pieces, end } = await this.say(call)
      const said = pieces.slice(0, call.maxNewTokens).map((piece, index) => this.#piece(piece, index, call))
      for (const [index, piece] of said.entries()) {
        await this.step(call, index)
        call.signal?.throwIfAborted()
        yield piece
      }
      call.signal?.throwIfAborted()
      const isCut = said.length < pieces.length
      return {
        text: said.map(({ text }) => text).join(''),
        reasoning: said.map(({ reasoning = '' }) => reasoning).join(''),
        ids: said.flatMap(({ ids }) => ids),
        toolCalls: said.flatMap(({ toolCalls = [] }) => toolCalls),
        ...(call.logprobs && { logprobs: said.flatMap(({ logprobs = [] }) => logprobs) }),
        ...(call.promptLogprobs && { promptLogprobs: await this.#promptLogprobs(call) }),
        promptTokens: (await this.#promptIds(call)).length,
        finishReason: end ?? (isCut ? 'length' : 'stop'),
      }
    } finally {
      this.#running.delete(call)
    }
  }

  async embed(ids: readonly number[]): Promise<Float32Array> {
    return Float32Array.of(ids.length, -1.5, 3, 1e-7)
  }

  exclusive<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#exclusive.then(work)
    this.#exclusive = result.catch(() => {})
    return result
  }

  async close(): Promise<void> {
    this.isClosed = true
  }

  #piece(
    { text = '', ...more }: Partial<TextPiece>,
    index: number,
    { logprobs, topLogprobs = 0 }: TextCall,
  ): TextPiece {
    const top = ['!', ' ', '\ufffd'].map((token, i) => ({ id: i, token, logprob: -1 - i }))
    const chosen: TokenText = { id: index, token: text, logprob: -0.25, top: top.slice(0, topLogprobs) }
    return { text, ids: [index], ...more, ...(logprobs && { logprobs: [chosen] }) }
  }

  async #promptIds({ prompt, messages = [] }: TextCall): Promise<readonly number[]> {
    if (typeof prompt === 'object') return prompt
    return this.model.tokenizer!.encodeText(prompt ?? JSON.stringify(messages))
  }

  async #promptLogprobs(call: TextCall) {
    const ids = await this.#promptIds(call)
    const texts = await Promise.all(ids.map((id) => this.model.tokenizer!.decode([id])))
    return ids.map((id, i) =>
      i === 0 ? { id, token: texts[i]!, logprob: null } : { id, token: texts[i]!, logprob: -0.5, top: [] },
    )
  }
}

export const SETTINGS: ServerSettings = {
  name: 'org/tiny',
  apiKeys: [],
  maxBatch: 8,
  maxQueue: 8,
  maxBodyBytes: 2 ** 20,
  timeout: 60,
  grace: 10,
  allowLoading: false,
  template: 'auto',
  basePath: '/',
  onError: (error) => {
    throw error
  },
}

/** A server with a fake writer that listens on this machine. */
export async function startFake(tokenizer: Tokenizer, settings: Partial<ServerSettings> = {}) {
  const writer = new FakeWriter(tokenizer)
  const errors: unknown[] = []
  const all = { ...SETTINGS, onError: (error: unknown) => void errors.push(error), ...settings }
  const server = serveTexts(writer, writer.model, all)
  const { origin, close } = await listenServer(server, { host: '127.0.0.1', port: 0, hasKey: all.apiKeys.length > 0 })
  const post = (path: string, body: unknown, init: RequestInit = {}) =>
    fetch(`${origin}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(init.headers as object) },
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...(init.signal && { signal: init.signal }),
    })
  return { writer, server, origin, close, errors, post }
}
