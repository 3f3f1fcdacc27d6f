// Llama-2-7B without values, for traces: in bfloat16, or quantised as by `mora train --quantise`.

import { Model, Tensor } from 'node-mora'
import { DecoderBlock, linearsOf, NF4_BLOCK, nf4Weight, parseConfig, Weights, weightOf } from '../common/internals.mjs'

export const llamaBlocks = 32

/** `config.json` of the model. */
export const llama2 = {
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
}
const config = parseConfig(llama2, 'Llama-2-7B')

const allLinears = linearsOf(config.network)

/** The seven linear layers of a block, `{name, inFeatures, outFeatures}`. */
export const linears = allLinears.filter(({ name }) => name.startsWith('model.layers.0.'))

const emptyWeights = (device, format = null) =>
  new Weights({ config, loadInto: () => {}, ...keptIn(format) }, device, 'bfloat16', format !== null)

/** One block on a device. */
export const emptyBlock = (device) => new DecoderBlock(config.network.blocks[0], emptyWeights(device))

/** The whole model on a device; linear layers are in `format` if it is given. */
export const emptyModel = (device, format = null) =>
  new Model({ tokenizer: null, source: null, weights: emptyWeights(device, format) })

/** Linear layers in blocks of GGUF or in NF4. */
function keptIn(format) {
  const layersOf = (names) => allLinears.filter(({ name }) => names.includes(`${name}.weight`))
  return {
    keptFormat: (name) => (layersOf([name]).length > 0 ? format : null),
    loadKept(names, device) {
      if (format === 'nf4' && names.length > 1) return null
      const layers = layersOf(names)
      const columns = layers[0]?.inFeatures ?? 0
      const rows = layers.reduce((sum, { outFeatures }) => sum + outFeatures, 0)
      if (format === 'nf4') return emptyNf4(rows, columns, device)
      return weightOf(Tensor.empty([rows, columns], { device, dtype: format }))
    },
  }
}

function emptyNf4(rows, columns, device) {
  return nf4Weight(columns, {
    codes: Tensor.empty([rows, columns / 2], { device, dtype: 'uint8' }),
    table: Tensor.empty([16], { device }),
    scales: Tensor.empty([(rows * columns) / NF4_BLOCK], { device }),
  })
}
