/** Describes a model from its files alone; no weights are loaded. */

import { formatBytes } from '../../common/bytes.js'
import type { HubOptions } from '../../hub/index.js'
import { ModelSource } from '../../models/index.js'
import { bytesOfWeights } from '../../models/load/storage-plan.js'
import type { ModelSizes } from '../../models/network/model-config.js'
import { type AttentionPlan, attentionsOf } from '../../models/network/plan.js'
import { bytesPerValue, elementsOf } from '../../native/addon.js'
import { loadTokenizer } from '../../text/tokenizer.js'
import { formatCount, formatFacts } from '../terminal/format.js'

interface ModelReport extends Omit<ModelSizes, 'maxPositions'> {
  /** The path, or the hub id with its commit. */
  path: string
  format: 'folder' | 'gguf'
  architecture: string
  /** Number of values in all tensors; a tied head counts once. */
  parameters: number
  /** Maximum number of positions of the model. */
  maxLength: number
  /** The number of layers with attention. */
  attentionLayers: number
  /** Bytes of a token's keys and values in bfloat16, as the engine keeps them. */
  keyValueBytes: number
  tiedEmbeddings: boolean
  /** Names of the labels that its head scores; absent in a language model. */
  labels?: readonly string[]
  /** The dtype of most values. */
  dtype: string
  /** Number of tensors by dtype. */
  dtypes: Record<string, number>
  /** Null if all weights are floats. */
  quantisation: QuantisationFacts | null
  /** With --train: bytes that loading the weights takes, by the dtype that training computes in. */
  weightMemory?: Record<(typeof COMPUTED)[number], { floats: number; quantised: number }>
  tokenizer: { vocabularySize: number; bosToken: string | null; eosToken: string | null; chatTemplate: boolean } | null
}

/** The quantised weights of a file, including their scales and other parts. */
interface QuantisationFacts {
  /** The format of most of their bytes: `q4_1`, `nf4`, … */
  format: string
  weights: number
  bitsPerValue: number
  bytes: number
  /** Size of the same values in bfloat16. */
  bfloat16Bytes: number
}

const COMPUTED = ['float32', 'bfloat16'] as const

export async function modelFacts(
  path: string,
  { offline, onWarning, train = false }: HubOptions & { train?: boolean } = {},
): Promise<ModelReport> {
  const source = await ModelSource.open(path, { offline, onWarning })
  const tokenizer = await loadTokenizer(source.path)
  const { config } = source
  const dtypes: Record<string, number> = {}
  let parameters = 0
  for (const { shape, dtype } of source.weights.values()) {
    parameters += elementsOf(shape)
    dtypes[dtype] = (dtypes[dtype] ?? 0) + 1
  }
  return {
    path,
    format: source.format,
    architecture: config.architecture,
    parameters,
    layers: config.layers,
    attentionLayers: attentionsOf(config.network).length,
    keyValueBytes: keyValueBytesOf(attentionsOf(config.network)),
    hiddenSize: config.hiddenSize,
    intermediateSize: config.intermediateSize,
    heads: config.heads,
    keyValueHeads: config.keyValueHeads,
    headSize: config.headSize,
    vocabularySize: config.vocabularySize,
    maxLength: config.maxPositions,
    tiedEmbeddings: config.tiedEmbeddings,
    ...(config.labels && { labels: config.labels }),
    dtype: source.storedDType(),
    dtypes,
    quantisation: quantisationOf(source),
    ...(train && { weightMemory: weightMemoryOf(source) }),
    tokenizer: tokenizer && {
      vocabularySize: tokenizer.vocabularySize,
      bosToken: tokenizer.bosToken ?? null,
      eosToken: tokenizer.eosToken ?? null,
      chatTemplate: tokenizer.template !== null,
    },
  }
}

function quantisationOf(source: ModelSource): QuantisationFacts | null {
  const quantised = [...source.weights.values()].filter(({ keptFormat }) => keptFormat !== null)
  if (quantised.length === 0) return null
  const bytes = quantised.reduce((sum, stored) => sum + stored.bytes, 0)
  const values = quantised.reduce((sum, { shape }) => sum + elementsOf(shape), 0)
  return {
    format: source.storedDType(),
    weights: quantised.length,
    bitsPerValue: (8 * bytes) / values,
    bytes,
    bfloat16Bytes: bytesPerValue('bfloat16') * values,
  }
}

function weightMemoryOf(source: ModelSource) {
  source.requireWeights()
  const [float32, bfloat16] = COMPUTED.map((dtype) => ({
    floats: bytesOfWeights(source, dtype, false),
    quantised: bytesOfWeights(source, dtype, true),
  }))
  return { float32: float32!, bfloat16: bfloat16! }
}

export function describeModel(model: ModelReport): string {
  const { tokenizer, quantisation, weightMemory } = model
  const dtypes = Object.entries(model.dtypes).map(([dtype, tensors]) => `${tensors} ${dtype}`)
  const vocabulary =
    tokenizer && `${formatCount(tokenizer.vocabularySize)} tokens, end ${tokenizer.eosToken ?? 'unknown'}`
  const facts: [string, string][] = [
    ['model', `${model.path} (${model.format === 'gguf' ? 'GGUF' : 'safetensors'})`],
    ['architecture', model.architecture],
    ['parameters', formatCount(model.parameters)],
    [
      'layers',
      model.attentionLayers < model.layers
        ? `${model.layers}, ${model.attentionLayers} with attention`
        : String(model.layers),
    ],
    ['hidden size', `${model.hiddenSize}, MLP ${model.intermediateSize}`],
    ['attention', `${model.heads} heads of ${model.headSize}, ${model.keyValueHeads} of keys and values`],
    ['keys and values', `${formatCount(model.keyValueBytes)} bytes a token, in bfloat16`],
    [
      'vocabulary',
      `${formatCount(model.vocabularySize)}${model.tiedEmbeddings && !model.labels ? ', tied embeddings' : ''}`,
    ],
    ['context', `${formatCount(model.maxLength)} tokens`],
    ...(model.labels ? [['labels', model.labels.join(', ')] as [string, string]] : []),
    ['tensors', dtypes.join(', ')],
    ['tokenizer', tokenizer ? `${vocabulary}, ${tokenizer.chatTemplate ? 'with' : 'without'} a chat template` : 'none'],
  ]
  if (quantisation) {
    const { format, weights, bitsPerValue, bytes, bfloat16Bytes } = quantisation
    const sizes = `${formatBytes(bytes)}, as bfloat16 ${formatBytes(bfloat16Bytes)}`
    facts.push([
      'quantised',
      `${weights} weights, most in ${format}, ${bitsPerValue.toFixed(2)} bits a value: ${sizes}`,
    ])
  }
  for (const [dtype, { floats, quantised }] of Object.entries(weightMemory ?? {})) {
    const asStored = quantised < floats ? `, with --quantised ${formatBytes(quantised)}` : ''
    facts.push([`weights in ${dtype}`, `${formatBytes(floats)}${asStored}`])
  }
  return formatFacts(facts)
}

/** Blocks that share the keys and values of another block have none of their own. */
function keyValueBytesOf(attentions: readonly AttentionPlan[]): number {
  const own = attentions.filter(({ source }) => source === undefined)
  return own.reduce((sum, { shape }) => sum + 2 * shape.keyValueHeads * shape.headSize * 2, 0)
}
