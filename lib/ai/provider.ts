import { basename } from 'node:path'
import type { EmbeddingModelV4, LanguageModelV4, RerankingModelV4 } from '@ai-sdk/provider'
import { badValue } from '../common/arguments.js'
import { type EmbeddingOptions, embeddingsOf, requireScore, type ScoresOptions, scoresOf } from '../eval/index.js'
import { aModel, type ChatOptions, requireTokenizer, TextEngine } from '../generate/index.js'
import type { LoadedModel } from '../models/index.js'
import { DEFAULT_MAX_LENGTH } from '../rows/row-choices.js'
import { checkedSettings, MoraLanguageModel } from './language-model.js'

/** Settings of `mora`: defaults of its calls, with the names that `generate` has. */
export interface MoraSettings
  extends AdapterSetting,
    Omit<ChatOptions, 'adapters' | 'system' | 'tools' | 'raw' | 'promptLogprobs' | 'parse' | 'onWarning'> {}

/** Which adapter a model of the AI SDK uses. */
export interface AdapterSetting {
  /** Name of an adapter of the model; null: none. Default: the adapters that are active when a call begins. */
  adapter?: string | null
}

/** Makes models of the AI SDK of loaded ones. */
export interface MoraProvider {
  /**
   * Returns a language model of the AI SDK that generates in this process. `settings` are defaults of its calls, with the names that
   * `generate` has; settings of the AI SDK override them, and so do `providerOptions: { mora: { … } }` of a call.
   *
   * Calls of one model share an engine, so they run at once, and a prefix that they have in common is computed once. Its memory stays until
   * the model is garbage; a program that gives a `TextEngine` instead chooses its size and closes it.
   *
   * ```ts
   * import { generateText } from 'ai'
   * import { loadModel } from 'node-mora'
   * import { mora } from 'node-mora/ai'
   *
   * const model = await loadModel('SmolLM2-135M-Instruct.Q4_1.gguf')
   * const { text } = await generateText({ model: mora(model), prompt: 'Name a colour.', maxOutputTokens: 8 })
   * console.log(text)
   * ```
   *
   * @throws UsageError for wrong settings; `unknown-adapter`; `no-tokenizer`
   */
  (source: LoadedModel | TextEngine, settings?: MoraSettings): LanguageModelV4
  /**
   * Returns an embedding model of the AI SDK: pooled states of length 1, as `embeddingsOf` computes them.
   * @throws UsageError `unknown-adapter`; `no-tokenizer`
   */
  embedding(model: LoadedModel, settings?: Omit<EmbeddingOptions, 'signal'> & AdapterSetting): EmbeddingModelV4
  /**
   * Returns a reranking model of the AI SDK: the head of a reward model scores each document as the completion of the query, as `scoresOf`
   * does.
   * @throws UsageError `no-head` for a model whose head does not give one score; `unknown-adapter`; `no-tokenizer`
   */
  reranking(model: LoadedModel, settings?: Omit<ScoresOptions, 'signal'> & AdapterSetting): RerankingModelV4
}

/** Engines of models whose program opened none. */
const engines = new WeakMap<LoadedModel, TextEngine>()

function engineOf(source: LoadedModel | TextEngine): TextEngine {
  if (source instanceof TextEngine) return source
  const known = engines.get(source)
  if (known) return known
  const engine = new TextEngine(source)
  engines.set(source, engine)
  return engine
}

/** @throws UsageError `bad-value` for what is no model; `unknown-adapter`; `no-tokenizer` */
function chosen(source: LoadedModel | TextEngine, adapter: string | null | undefined) {
  const base = source instanceof TextEngine ? source.model : source
  if (!aModel.safeParse(base).success) throw badValue('model', 'a model (loadModel gives one) or a TextEngine', source)
  requireTokenizer(base)
  const adapters = adapter === undefined ? undefined : adapter === null ? [] : [adapter]
  /** Returns the model with the adapter, which may be another by now. */
  const view = () => base.withAdapters(adapters)
  view()
  const name = basename(base.path).replace(/\.gguf$/i, '') || 'model'
  const facts = { modelId: adapter ?? name, provider: 'mora', specificationVersion: 'v4' as const }
  return { view, adapters, facts }
}

function languageModel(source: LoadedModel | TextEngine, settings: MoraSettings = {}): LanguageModelV4 {
  const { adapter, ...defaults } = settings
  const { view, adapters, facts } = chosen(source, adapter)
  return new MoraLanguageModel(facts.modelId, () => engineOf(source), view, { ...checkedSettings(defaults), adapters })
}

function embedding(
  model: LoadedModel,
  settings: Omit<EmbeddingOptions, 'signal'> & AdapterSetting = {},
): EmbeddingModelV4 {
  const { adapter, ...options } = settings
  const { view, facts } = chosen(model, adapter)
  return {
    ...facts,
    maxEmbeddingsPerCall: Number.POSITIVE_INFINITY,
    supportsParallelCalls: true,
    async doEmbed({ values, dimensions, abortSignal: signal }) {
      const { config } = model
      if (dimensions !== undefined && dimensions !== config.hiddenSize)
        throw badValue('dimensions', `${config.hiddenSize}, which the model's embeddings have`, dimensions)
      const states = await embeddingsOf(view(), values, { ...options, ...(signal && { signal }) })
      const tokenizer = requireTokenizer(model)
      const ids = await Promise.all(values.map((text) => tokenizer.encodeText(text, signal)))
      const tokens = ids.reduce((sum, { length }) => sum + Math.min(length, options.maxLength ?? DEFAULT_MAX_LENGTH), 0)
      return { embeddings: states.map((state) => [...state]), usage: { tokens }, warnings: [] }
    },
  }
}

function reranking(
  model: LoadedModel,
  settings: Omit<ScoresOptions, 'signal'> & AdapterSetting = {},
): RerankingModelV4 {
  const { adapter, ...options } = settings
  const { view, facts } = chosen(model, adapter)
  requireScore(view(), 'Reranking')
  return {
    ...facts,
    async doRerank({ documents, query, topN = documents.values.length, abortSignal: signal }) {
      const rows = documents.values.map((one) => ({
        prompt: query,
        completion: typeof one === 'string' ? one : JSON.stringify(one),
      }))
      const scores = await scoresOf(view(), rows, { ...options, ...(signal && { signal }) })
      const ranking = scores.map(([relevanceScore = Number.NaN], index) => ({ index, relevanceScore }))
      return { ranking: ranking.sort((a, b) => b.relevanceScore - a.relevanceScore).slice(0, topN) }
    },
  }
}

/** Models of the AI SDK: `mora(model)` is a language model, beside embedding and reranking models. */
export const provider: MoraProvider = Object.assign(languageModel, { embedding, reranking })
