/** A server of a tiny model with random weights, and ways to say what its texts are. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished, vi } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { randomStream } from '../../lib/common/random.js'
import {
  type GeneratedPiece,
  type GenerateOptions,
  type GenerateResult,
  TextEngine,
  type TokenText,
} from '../../lib/generate/index.js'
import { initModel, type Model } from '../../lib/models/index.js'
import { listenServer, type ServeOptions, serve } from '../../lib/serve/index.js'
import { readTokenizerFolder } from '../../lib/text/tokenizer/from-folder.js'
import { createTokenizer } from '../../lib/text/tokenizer.js'
import { writeFiles } from '../io/temporary.js'
import { smallTokenizerFolder, templatePath } from '../text/tokenizer/small-tokenizer.js'

export const NAME = 'org/tiny'
export const MAX_POSITIONS = 512

/** Prints calls, drops thoughts, and prints no tools. */
export const CALLING = readFileSync(templatePath('calling'), 'utf8').replace(
  "(message.content or '')",
  "((message.content or '').split('</think>') | last)",
)
export const WITH_TOOLS = `{%- if tools %}{{- '<|im_start|>system\\n' + (tools | tojson) + '<|im_end|>\\n' }}{%- endif %}\n${CALLING}`

/** A model of one block and 502 tokens, which takes less than a millisecond for each. */
export async function tinyModel({ template = WITH_TOOLS, hiddenSize = 32 } = {}): Promise<Model> {
  const source = (await readTokenizerFolder(smallTokenizerFolder))!
  const tokenizer = await createTokenizer({ ...source, chatTemplates: new Map([['default', template]]) })
  const folder = mkdtempSync(join(tmpdir(), 'mora-serve-'))
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: tokenizer.vocabularySize,
    hidden_size: hiddenSize,
    intermediate_size: 64,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    max_position_embeddings: MAX_POSITIONS,
    hidden_act: 'silu',
    rms_norm_eps: 1e-5,
    initializer_range: 0.5,
    tie_word_embeddings: true,
    bos_token_id: tokenizer.bosId,
    eos_token_id: tokenizer.eosId,
    torch_dtype: 'float32',
  }
  try {
    writeFiles(folder, new Map([['config.json', JSON.stringify(config)]]))
    return await initModel(join(folder, 'config.json'), { tokenizer, device: 'cpu', dtype: 'float32', threads: 1 })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Adds a LoRA with random numbers, with which the model writes other texts. */
export async function addRandomAdapter(model: Model, name: string, seed: number): Promise<void> {
  await model.addAdapter(name, lora({ rank: 2 }))
  const random = randomStream(seed, 'adapter')
  for (const { parameter } of model.trainableParameters())
    parameter.assign(Float32Array.from({ length: parameter.elements }, () => random.normal()))
  model.setActiveAdapters([])
}

/** A server that listens on this machine, with the failures that it tells. */
export async function startServer(model: Model, options: ServeOptions = {}) {
  const errors: unknown[] = []
  const { basePath = '' } = options
  const keys = Object.values(options.apiKeys ?? [])
  const server = serve(model, {
    name: NAME,
    maxBatch: 8,
    maxQueue: 8,
    onError: (error) => errors.push(error),
    ...options,
  })
  const { origin, close } = await listenServer(server, { host: '127.0.0.1', port: 0, hasKey: keys.length > 0 })
  const post = (path: string, body: unknown, init: RequestInit = {}) =>
    fetch(`${origin}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(init.headers as object) },
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...(init.signal && { signal: init.signal }),
    })
  const load = async () => {
    const headers = { authorization: `Bearer ${keys[0]}` }
    const text = await (await server.fetch(new Request(`http://any${basePath}/metrics`, { headers }))).text()
    const value = (name: string) => Number(new RegExp(`^mora_${name} (.*)$`, 'm').exec(text)![1])
    return { sequences: value('sequences_running') + value('sequences_waiting'), pages: value('pages_used') }
  }
  return { server, origin, close, errors, post, load }
}

export const IDLE = { sequences: 0, pages: 0 }

/** Watches the texts that servers ask their engines for; calls go through. */
export const watchTexts = () => vi.spyOn(TextEngine.prototype, 'stream')

/** Keeps the engine of the last text between two steps, until the returned function is called. */
export function hold(): () => void {
  const engine = watchTexts().mock.contexts.at(-1)
  assert(engine instanceof TextEngine)
  let release = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  void engine.exclusive(() => released)
  return release
}

/** A text to say instead: pieces of a token each, which `max_tokens` cuts. */
export type Script = (call: GenerateOptions, sample: number) => readonly Partial<GeneratedPiece>[]

/** Until the test ends, texts are what a script says. `step` comes before each piece. */
export function script(say: Script, step: (index: number) => Promise<unknown> = async () => {}): void {
  const stream = watchTexts().mockImplementation(async function* (call, sample = 0) {
    const said = say(call, sample).map((piece, index) => pieceOf(piece, index, call))
    const pieces = said.slice(0, call.maxNewTokens)
    call.onBegin?.({ promptTokens: 1, cachedTokens: 0 })
    for (const [index, piece] of pieces.entries()) {
      await step(index)
      call.signal?.throwIfAborted()
      yield piece
    }
    const ids = pieces.flatMap((piece) => piece.ids)
    return {
      text: pieces.map(({ text }) => text).join(''),
      reasoning: pieces.map(({ reasoning = '' }) => reasoning).join(''),
      toolCalls: pieces.flatMap(({ toolCalls = [] }) => toolCalls),
      ids,
      promptTokens: 1,
      newTokens: ids.length,
      reasoningTokens: pieces.flatMap(({ reasoning = '', ids }) => (reasoning ? ids : [])).length,
      tokensPerSecond: 1,
      finishReason: pieces.length < said.length ? 'length' : 'stop',
      ...(call.logprobs && { logprobs: pieces.flatMap(({ logprobs = [] }) => logprobs) }),
    } satisfies GenerateResult
  })
  onTestFinished(() => void stream.mockReset())
}

function pieceOf(
  { text = '', ...more }: Partial<GeneratedPiece>,
  index: number,
  { logprobs, topLogprobs = 0 }: GenerateOptions,
): GeneratedPiece {
  const top = ['!', ' ', '\ufffd'].map((token, i) => ({ id: i, token, logprob: -1 - i }))
  const chosen: TokenText = { id: index, token: text, logprob: -0.25, top: top.slice(0, topLogprobs) }
  return { text, ids: [index], ...more, ...(logprobs && { logprobs: [chosen] }) }
}
