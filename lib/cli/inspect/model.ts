/** What a model is, from its files alone: no weight is loaded. */
import { loadTokenizer } from '../../data/tokenizer/tokenizer.js'
import type { HubOptions } from '../../hub/index.js'
import { ModelSource } from '../../models/index.js'
import { formatCount, formatFacts } from '../terminal/format.js'

export interface ModelFacts {
  /** Or the hub id, with its commit. */
  path: string
  format: 'folder' | 'gguf'
  architecture: string
  /** Numbers in all tensors; a tied head counts once. */
  parameters: number
  layers: number
  hiddenSize: number
  intermediateSize: number
  heads: number
  keyValueHeads: number
  headSize: number
  vocabularySize: number
  /** Positions that the model is made for. */
  maxLength: number
  tiedEmbeddings: boolean
  /** That most values are stored in. */
  dtype: string
  /** Tensors by dtype. */
  dtypes: Record<string, number>
  tokenizer: { vocabularySize: number; bosToken: string | null; eosToken: string | null; chatTemplate: boolean } | null
}

export async function modelFacts(path: string, { offline }: HubOptions = {}): Promise<ModelFacts> {
  const source = await ModelSource.open(path, { offline })
  const tokenizer = await loadTokenizer(source.path)
  const { config } = source
  const dtypes: Record<string, number> = {}
  let parameters = 0
  for (const { shape, dtype } of source.weights.values()) {
    parameters += shape.reduce((product, size) => product * size, 1)
    dtypes[dtype] = (dtypes[dtype] ?? 0) + 1
  }
  return {
    path,
    format: source.format,
    architecture: config.architecture,
    parameters,
    layers: config.layers,
    hiddenSize: config.hiddenSize,
    intermediateSize: config.intermediateSize,
    heads: config.heads,
    keyValueHeads: config.keyValueHeads,
    headSize: config.headSize,
    vocabularySize: config.vocabularySize,
    maxLength: config.maxPositions,
    tiedEmbeddings: config.tiedEmbeddings,
    dtype: source.storedDType(),
    dtypes,
    tokenizer: tokenizer && {
      vocabularySize: tokenizer.vocabSize,
      bosToken: tokenizer.bosToken ?? null,
      eosToken: tokenizer.eosToken ?? null,
      chatTemplate: tokenizer.chatTemplate !== null,
    },
  }
}

export function describeModel(model: ModelFacts): string {
  const { tokenizer } = model
  const dtypes = Object.entries(model.dtypes).map(([dtype, tensors]) => `${tensors} ${dtype}`)
  const vocabulary =
    tokenizer && `${formatCount(tokenizer.vocabularySize)} tokens, end ${tokenizer.eosToken ?? 'unknown'}`
  return formatFacts([
    ['model', `${model.path} (${model.format === 'gguf' ? 'GGUF' : 'safetensors'})`],
    ['architecture', model.architecture],
    ['parameters', formatCount(model.parameters)],
    ['layers', String(model.layers)],
    ['hidden size', `${model.hiddenSize}, MLP ${model.intermediateSize}`],
    ['attention', `${model.heads} heads of ${model.headSize}, ${model.keyValueHeads} of keys and values`],
    ['vocabulary', `${formatCount(model.vocabularySize)}${model.tiedEmbeddings ? ', tied embeddings' : ''}`],
    ['context', `${formatCount(model.maxLength)} tokens`],
    ['tensors', dtypes.join(', ')],
    ['tokenizer', tokenizer ? `${vocabulary}, ${tokenizer.chatTemplate ? 'with' : 'without'} a chat template` : 'none'],
  ])
}
