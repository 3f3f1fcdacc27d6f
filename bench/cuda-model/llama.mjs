// Llama-2-7B in bfloat16 with weights of no values, for traces of what runs.

import { Model } from 'node-mora'
import { DecoderBlock, linearsOf, parseConfig, Weights } from '../common/internals.mjs'

export const llamaBlocks = 32

const config = parseConfig(
  {
    model_type: 'llama',
    hidden_act: 'silu',
    vocab_size: 32000,
    hidden_size: 4096,
    intermediate_size: 11008,
    num_hidden_layers: llamaBlocks,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    rms_norm_eps: 1e-5,
    max_position_embeddings: 4096,
    rope_theta: 10000,
    tie_word_embeddings: false,
  },
  'Llama-2-7B',
)

/** The seven linear layers of a block, `{name, inFeatures, outFeatures}`. */
export const linears = linearsOf(config.network).filter(({ name }) => name.startsWith('model.layers.0.'))

const emptyWeights = (device) => new Weights(config, device, 'bfloat16', () => {})

/** One block on a device. */
export const emptyBlock = (device) => new DecoderBlock(config.network.blocks[0], emptyWeights(device))

/** The whole model on a device. */
export const emptyModel = (device) => new Model({ tokenizer: null, source: null, weights: emptyWeights(device) })
