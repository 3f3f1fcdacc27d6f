import { llamaNames } from '../gguf/names.js'
import type { ModelSizes } from '../network/model-config.js'
import type { NetworkPlan } from '../network/plan.js'
import type { ConfigReader } from './config-reader.js'
import type { Family } from './family.js'
import { attentionBiases, type Defaults, llamaBlock, llamaModel, readSizes, rmsNorms } from './parts.js'
import { readRotary } from './rotary-settings.js'

/** Gemma 1 (arXiv 2403.08295): norms by 1 + weight, GeGLU, embeddings times √hidden. */
export const gemma: Family = {
  modelType: 'gemma',
  published: 'Gemma 1',

  read(read) {
    const { sizes, norm, ...alike } = readGemma(read, { maxPositions: 8192 })
    const options = { ...alike, norm, rotary: readRotary(read, sizes) }
    return llamaModel(read, { sizes, norm, tied: true }, (i) => llamaBlock(sizes, i, options), gemmaRest(sizes))
  },

  gguf: {
    architecture: 'gemma',
    className: 'GemmaForCausalLM',
    names: llamaNames,
    addsOffsets: true,
    config: (metadata) => ({ hidden_activation: 'gelu_pytorch_tanh', ...metadata.llamaConfig() }),
  },
}

/** Reads the keys that all Gemmas share; early configurations call the activation `gelu`. */
export function readGemma(read: ConfigReader, defaults: Defaults) {
  read.require('use_bidirectional_attention', [false], false)
  read.require('hidden_act', ['gelu', 'gelu_pytorch_tanh'], 'gelu_pytorch_tanh')
  read.require('hidden_activation', ['gelu_pytorch_tanh'], 'gelu_pytorch_tanh')
  return {
    sizes: readSizes(read, { headSize: 256, ...defaults }),
    norm: rmsNorms(read.number('rms_norm_eps', 1e-6), 1),
    biases: attentionBiases(read),
    activation: 'geluTanh',
  } as const
}

/** Gemma's embeddings are multiplied by √hidden. */
export function gemmaRest({ hiddenSize }: ModelSizes, softcap: number | null = null): Partial<NetworkPlan> {
  return { embeddingScale: Math.sqrt(hiddenSize), logits: { scale: 1, softcap } }
}
