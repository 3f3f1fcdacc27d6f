import type { ModelSizes } from '../network/model-config.js'
import type { DecoderBlockPlan, LinearPlan, NormPlan } from '../network/plan.js'
import type { Family } from './family.js'
import { llamaModel, requireHeads } from './parts.js'

/** GPT-2: LayerNorm, learned positions, an MLP without a gate, and weights of linear layers as [in, out] (Conv1D). */
export const gpt2: Family = {
  modelType: 'gpt2',
  published: 'GPT-2',

  read(read) {
    const activation = read.value('activation_function') ?? 'gelu_new'
    read.require('activation_function', ['gelu_new', 'gelu_pytorch_tanh', 'gelu'], 'gelu_new')
    read.require('scale_attn_weights', [true], true)
    for (const key of ['scale_attn_by_inverse_layer_idx', 'reorder_and_upcast_attn', 'add_cross_attention'])
      read.require(key, [false], false)
    const hiddenSize = read.integer('n_embd')
    const heads = read.integer('n_head')
    const maxPositions = read.integer('n_positions', read.integer('n_ctx', 1024))
    const sizes: ModelSizes = {
      vocabularySize: read.integer('vocab_size'),
      hiddenSize,
      intermediateSize: read.integer('n_inner', 4 * hiddenSize),
      layers: read.layers('n_layer'),
      heads,
      keyValueHeads: heads,
      headSize: hiddenSize / heads,
      maxPositions,
    }
    requireHeads(read, sizes)
    const epsilon = read.number('layer_norm_epsilon', 1e-5)
    const norm = (name: string): NormPlan => ({ name, kind: 'layer', size: hiddenSize, epsilon, weightOffset: 0 })
    const ofBlocks = activation === 'gelu' ? 'gelu' : 'geluTanh'
    return llamaModel(read, { sizes, norm, tied: true }, (i) => block(sizes, norm, i, ofBlocks), {
      embeddings: 'transformer.wte',
      positions: 'transformer.wpe',
      finalNorm: norm('transformer.ln_f'),
      transposedLinears: true,
      basePrefix: 'transformer.',
    })
  },

  gguf: {
    architecture: 'gpt2',
    className: 'GPT2LMHeadModel',
    names: {
      outer: {
        token_embd: 'transformer.wte',
        position_embd: 'transformer.wpe',
        output_norm: 'transformer.ln_f',
        output: 'lm_head',
      },
      block: {
        attn_norm: 'ln_1',
        attn_qkv: 'attn.c_attn',
        attn_output: 'attn.c_proj',
        ffn_norm: 'ln_2',
        ffn_up: 'mlp.c_fc',
        ffn_down: 'mlp.c_proj',
      },
      blocks: 'transformer.h',
    },
    config: (metadata) => ({
      activation_function: 'gelu_new',
      n_embd: metadata.hiddenSize,
      n_head: metadata.heads,
      n_layer: metadata.layers,
      n_positions: metadata.maxPositions,
      n_inner: metadata.read.countOfLayers(metadata.key('feed_forward_length')),
      layer_norm_epsilon: metadata.number('attention.layer_norm_epsilon'),
      ...metadata.common(),
    }),
  },
}

function block(
  { hiddenSize, intermediateSize, heads, headSize }: ModelSizes,
  norm: (name: string) => NormPlan,
  index: number,
  activation: 'gelu' | 'geluTanh',
): DecoderBlockPlan {
  const path = `transformer.h.${index}`
  const linear = (name: string, outFeatures: number, inFeatures: number): LinearPlan => {
    return { name: `${path}.${name}`, outFeatures, inFeatures, bias: true }
  }
  return {
    beforeMixer: norm(`${path}.ln_1`),
    mixer: {
      kind: 'attention',
      shape: { heads, keyValueHeads: heads, headSize },
      projections: [linear('attn.c_attn', 3 * hiddenSize, hiddenSize)],
      queryNorm: null,
      keyNorm: null,
      rotary: null,
      softmax: { scale: 1 / Math.sqrt(headSize), window: null, softcap: null },
      output: linear('attn.c_proj', hiddenSize, hiddenSize),
    },
    afterMixer: null,
    beforeMlp: norm(`${path}.ln_2`),
    mlp: {
      projections: [linear('mlp.c_fc', intermediateSize, hiddenSize)],
      activation,
      gated: false,
      down: linear('mlp.c_proj', hiddenSize, intermediateSize),
    },
    afterMlp: null,
    residualScale: 1,
  }
}
