import { float32 } from '../../io/gguf-writer.js'
import type { JsonObject } from '../../io/json.js'
import type { Fields } from '../gguf/gguf-family.js'
import { pairedRows } from '../gguf/layout.js'
import type { GgufMetadata } from '../gguf/metadata.js'
import { llamaNames } from '../gguf/names.js'
import type { ModelConfig, ModelSizes } from '../network/model-config.js'
import { attentionsOf, type DecoderBlockPlan, type NetworkPlan } from '../network/plan.js'
import type { ConfigReader } from './config-reader.js'
import type { Family } from './family.js'
import { llamaBlock, llamaModel, readLlama } from './parts.js'

/** Granite 3 (dense): Llama with multipliers of embeddings, attention scores, residuals and logits (muP, arXiv 2203.03466). */
export const granite: Family = {
  modelType: 'granite',
  published: 'Granite 3 (dense)',

  read(read) {
    const { sizes, ...options } = readLlama(read)
    const block = readGraniteBlock(read, sizes, { ...options, mlpBias: read.flag('mlp_bias') })
    return llamaModel(read, { sizes, norm: options.norm }, block, graniteRest(read))
  },

  gguf: {
    architecture: 'granite',
    className: 'GraniteForCausalLM',
    names: llamaNames,
    layout: pairedRows,
    config: (metadata) => ({ ...graniteConfig(metadata), ...metadata.biases() }),
    fields: graniteFields,
  },
}

/** Returns the configuration of a GGUF file, without biases. */
export function graniteConfig(metadata: GgufMetadata): JsonObject {
  return {
    hidden_act: 'silu',
    ...metadata.llamaConfig(),
    attention_multiplier: metadata.number('attention.scale', 1),
    embedding_multiplier: metadata.number('embedding_scale', 1),
    residual_multiplier: metadata.number('residual_scale', 1),
    logits_scaling: metadata.number('logit_scale', 1),
  }
}

/** Returns the multipliers for a GGUF file. */
export function graniteFields({ network }: ModelConfig): Fields {
  return {
    'attention.scale': float32(attentionsOf(network)[0]!.softmax.scale),
    embedding_scale: float32(network.embeddingScale),
    residual_scale: float32(network.blocks[0]!.residualScale),
    logit_scale: float32(1 / network.logits.scale),
  }
}

/** Reads what Granite's blocks have beside Llama's: biases, and the multipliers of scores and residuals. */
export function readGraniteBlock(
  read: ConfigReader,
  sizes: ModelSizes,
  { mlpBias, ...options }: Pick<Parameters<typeof llamaBlock>[2], 'norm' | 'rotary'> & { readonly mlpBias: boolean },
): (index: number) => DecoderBlockPlan {
  const attention = read.flag('attention_bias')
  const biases = { queryKeyValue: attention, attentionOutput: attention, mlp: mlpBias }
  const scale = read.number('attention_multiplier', 1)
  const residualScale = read.number('residual_multiplier', 1)
  return (index) => ({ ...llamaBlock(sizes, index, { ...options, biases, scale }), residualScale })
}

/** Reads the multipliers of embeddings and logits. */
export function graniteRest(read: ConfigReader): Partial<NetworkPlan> {
  return {
    embeddingScale: read.number('embedding_multiplier', 1),
    logits: { scale: 1 / read.positive('logits_scaling', 1), softcap: null },
  }
}
