/** The Hugging Face configuration of a model in a GGUF file. */
import { UsageError } from '../errors.js'
import { MetadataReader } from './gguf-metadata.js'
import type { GgufFile } from './gguf-types.js'
import { ropeFactorsName } from './hugging-face-names.js'
import { malformed } from './open.js'
import { type RopeScaling, ropeScalingFromFactors } from './rope-factors.js'

/** `config.json` of a Llama model, as transformers names things. */
export interface LlamaConfigJson {
  architectures: ['LlamaForCausalLM']
  model_type: 'llama'
  hidden_act: 'silu'
  hidden_size: number
  intermediate_size: number
  num_hidden_layers: number
  num_attention_heads: number
  num_key_value_heads: number
  head_dim: number
  vocab_size: number
  max_position_embeddings: number
  rms_norm_eps: number
  rope_theta: number
  rope_scaling: RopeScaling | null
  attention_bias: boolean
  mlp_bias: boolean
  tie_word_embeddings: boolean
  bos_token_id: number | null
  eos_token_id: number | null
  pad_token_id: number | null
}

/** Architectures of `general.architecture` that `llamaConfigFromGguf` accepts. */
export const supportedGgufArchitectures = ['llama']

/**
 * @param ropeFactors values of `rope_freqs.weight` [headDim / 2], needed if the file has that tensor
 * @throws UsageError `unsupported-architecture`, `unsupported-option` with the name of what is not supported
 * @throws InputError `malformed-file` if metadata is missing, of the wrong type, or contradicts the tensors
 */
export function llamaConfigFromGguf(file: GgufFile, ropeFactors?: Float32Array): LlamaConfigJson {
  const read = new MetadataReader(file)
  const architecture = read.text('general.architecture')
  if (!supportedGgufArchitectures.includes(architecture)) {
    throw new UsageError(
      'unsupported-architecture',
      `${file.path} has the architecture ${architecture}; supported in GGUF files: ${supportedGgufArchitectures.join(', ')}.`,
    )
  }
  if (read.count('split.count', 1) > 1) {
    throw new UsageError(
      'unsupported-option',
      `${file.path} is one of several parts of a model: join them with \`llama-gguf-split --merge\` first.`,
    )
  }
  read.refuseUnless('llama.expert_count', 0)
  read.refuseUnless('llama.attention.causal', true)

  const hiddenSize = read.count('llama.embedding_length')
  const heads = read.countOfLayers('llama.attention.head_count')
  const headDim = read.count('llama.attention.key_length', hiddenSize / heads)
  read.refuseUnless('llama.attention.value_length', headDim)
  read.refuseUnless('llama.rope.dimension_count', headDim)
  const theta = read.number('llama.rope.freq_base', 10000)
  const contextLength = read.count('llama.context_length')
  const layers = read.count('llama.block_count')
  if (layers > file.tensors.size)
    throw malformed(file.path, `it claims ${layers} blocks but has ${file.tensors.size} tensors`)
  if (theta <= 0) throw malformed(file.path, `its llama.rope.freq_base is ${theta}`)
  const config: LlamaConfigJson = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_act: 'silu',
    hidden_size: hiddenSize,
    intermediate_size: read.countOfLayers('llama.feed_forward_length'),
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: read.countOfLayers('llama.attention.head_count_kv', heads),
    head_dim: headDim,
    vocab_size: vocabularySize(file),
    max_position_embeddings: contextLength,
    rms_norm_eps: read.number('llama.attention.layer_norm_rms_epsilon'),
    rope_theta: theta,
    rope_scaling: readRopeScaling(file, read, { theta, headDim, contextLength, factors: ropeFactors }),
    attention_bias: hasBiases(file, read, layers, ['attn_q', 'attn_k', 'attn_v', 'attn_output']),
    mlp_bias: hasBiases(file, read, layers, ['ffn_gate', 'ffn_up', 'ffn_down']),
    tie_word_embeddings: !file.tensors.has('output.weight'),
    bos_token_id: read.optionalNumber('tokenizer.ggml.bos_token_id'),
    eos_token_id: read.optionalNumber('tokenizer.ggml.eos_token_id'),
    pad_token_id: read.optionalNumber('tokenizer.ggml.padding_token_id'),
  }
  read.refuseOverlooked('llama.', ignoredKeys)
  return config
}

/** Keys that change nothing here, or that are read in another place. */
const ignoredKeys = [
  'llama.vocab_size',
  'llama.tensor_data_layout',
  'llama.expert_used_count',
  'llama.rope.scaling.finetuned',
]

interface Rotation {
  theta: number
  headDim: number
  contextLength: number
  factors: Float32Array | undefined
}

function readRopeScaling(file: GgufFile, read: MetadataReader, rotation: Rotation): RopeScaling | null {
  const oldFactor = read.optionalNumber('llama.rope.scale_linear')
  const type = read.text('llama.rope.scaling.type', oldFactor === null ? 'none' : 'linear')
  const original = read.optionalNumber('llama.rope.scaling.original_context_length')
  const factor = read.number('llama.rope.scaling.factor', oldFactor ?? 1)
  read.refuseUnless('llama.rope.scaling.attn_factor', 1)
  if (factor <= 0) throw malformed(file.path, `its llama.rope.scaling.factor is ${factor}`)

  if (file.tensors.has(ropeFactorsName)) {
    if (type !== 'none') throw read.unsupported(`llama.rope.scaling.type ${type} together with ${ropeFactorsName}`)
    if (!rotation.factors) throw new UsageError('missing-argument', `The values of ${ropeFactorsName} are needed.`)
    return ropeScalingFromFactors({ ...rotation, factors: rotation.factors, original, path: file.path })
  }
  if (type === 'none' || (type === 'linear' && factor === 1)) return null
  if (type === 'linear') return { rope_type: 'linear', factor }
  if (type !== 'yarn') throw read.unsupported(`llama.rope.scaling.type ${type}`)
  return {
    rope_type: 'yarn',
    factor,
    original_max_position_embeddings: original ?? Math.round(rotation.contextLength / factor),
  }
}

function vocabularySize(file: GgufFile): number {
  const size = file.tensors.get('token_embd.weight')?.shape[0]
  if (size === undefined) throw malformed(file.path, 'it has no tensor token_embd.weight')
  return size
}

/** Hugging Face's Llama has biases in all of a block's projections of a kind, or in none. */
function hasBiases(file: GgufFile, read: MetadataReader, layers: number, projections: string[]): boolean {
  const names = Array.from({ length: layers }, (_, layer) =>
    projections.map((name) => `blk.${layer}.${name}.bias`),
  ).flat()
  const missing = names.filter((name) => !file.tensors.has(name))
  if (missing.length === names.length) return false
  if (missing.length > 0) throw read.unsupported(`biases in some projections only (${missing[0]} is missing)`)
  return true
}
