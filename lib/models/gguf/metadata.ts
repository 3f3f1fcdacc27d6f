import { UsageError } from '../../common/errors.js'
import { MetadataReader } from '../../io/gguf-metadata.js'
import type { GgufFile } from '../../io/gguf-types.js'
import type { JsonObject } from '../../io/json.js'
import { malformed } from '../../io/open.js'
import { ropeFactorsName } from './names.js'
import { ropeScalingFromFactors } from './rope-factors.js'

/** Rotary settings that differ between families: the usual base, and how many elements of a head rotate (usually all). */
interface FamilyRotary {
  readonly theta?: number
  /** Whether files have YaRN's factor of sines and cosines; otherwise it follows from the factor of frequencies. */
  readonly attentionFactor?: boolean
  readonly rotated?: number
}

interface LlamaKeys extends FamilyRotary {
  /** Width of the MLP, where the file lists several. */
  readonly intermediateSize?: number
  /** Heads of keys and values, where the file lists others for layers without attention. */
  readonly keyValueHeads?: number
}

/** A GGUF file's metadata as `config.json` expresses it. */
export class GgufMetadata {
  readonly read: MetadataReader
  readonly layers: number
  readonly hiddenSize: number
  readonly heads: number
  readonly headSize: number
  readonly maxPositions: number

  /** @param ropeFactors values of `rope_freqs.weight` [headSize / 2], needed if the file has that tensor */
  constructor(
    readonly file: GgufFile,
    readonly architecture: string,
    readonly ropeFactors?: Float32Array,
  ) {
    const read = new MetadataReader(file)
    const key = (name: string) => this.key(name)
    this.read = read
    this.hiddenSize = read.count(key('embedding_length'))
    this.heads = read.countOfLayers(key('attention.head_count'))
    this.headSize = read.count(key('attention.key_length'), this.hiddenSize / this.heads)
    this.maxPositions = read.count(key('context_length'))
    // Layers that predict more tokens come after the others.
    this.layers = read.count(key('block_count')) - read.number(key('nextn_predict_layers'), 0)
    read.refuseUnless(key('attention.value_length'), this.headSize)
    read.refuseUnless(key('expert_count'), 0)
    read.refuseUnless(key('attention.causal'), true)
    if (!(this.layers >= 1)) throw malformed(file.path, 'all its blocks are layers that predict more tokens')
    if (this.layers > file.tensors.size)
      throw malformed(file.path, `it claims ${this.layers} blocks but has ${file.tensors.size} tensors`)
  }

  /** `attention.head_count` → `llama.attention.head_count` */
  key(name: string): string {
    return `${this.architecture}.${name}`
  }

  number(name: string, fallback?: number): number {
    return this.read.number(this.key(name), fallback)
  }

  optionalNumber(name: string): number | null {
    return this.read.optionalNumber(this.key(name))
  }

  /** Keys that every configuration has: special tokens, the vocabulary, and whether the head is tied. */
  common(): JsonObject {
    const token = (name: string) => this.read.optionalNumber(`tokenizer.ggml.${name}_token_id`)
    return {
      vocab_size: this.#vocabularySize(),
      tie_word_embeddings: !this.file.tensors.has('output.weight'),
      bos_token_id: token('bos'),
      eos_token_id: token('eos'),
      pad_token_id: token('padding'),
    }
  }

  /** The configuration of Llama's layers, without biases. */
  llamaConfig({ intermediateSize, keyValueHeads, ...rotary }: LlamaKeys = {}): JsonObject {
    const { read } = this
    return {
      hidden_size: this.hiddenSize,
      intermediate_size: intermediateSize ?? read.countOfLayers(this.key('feed_forward_length')),
      num_hidden_layers: this.layers,
      num_attention_heads: this.heads,
      num_key_value_heads: keyValueHeads ?? read.countOfLayers(this.key('attention.head_count_kv'), this.heads),
      head_dim: this.headSize,
      max_position_embeddings: this.maxPositions,
      rms_norm_eps: read.number(this.key('attention.layer_norm_rms_epsilon')),
      ...this.#rotary(rotary),
      ...this.common(),
    }
  }

  /** Whether attention's projections have biases, as `config.json` says it. */
  attentionBias(): JsonObject {
    return { attention_bias: this.#haveBiases(['attn_q', 'attn_k', 'attn_v', 'attn_output']) }
  }

  /** Whether projections of attention and MLP have biases, as Llama's configuration says it. */
  biases(): JsonObject {
    return { ...this.attentionBias(), mlp_bias: this.#haveBiases(['ffn_gate', 'ffn_up', 'ffn_down']) }
  }

  /** Throws if the file has metadata that was not read. */
  refuseOverlooked(): void {
    const ignored = ['vocab_size', 'tensor_data_layout', 'expert_used_count', 'rope.scaling.finetuned']
    this.read.refuseOverlooked(
      this.key(''),
      ignored.map((name) => this.key(name)),
    )
  }

  /** Whether these projections have biases; throws if only some of them have. */
  #haveBiases(projections: readonly string[]): boolean {
    const layers = Array.from({ length: this.layers }, (_, layer) => layer)
    const names = layers.flatMap((layer) => projections.map((name) => `blk.${layer}.${name}.bias`))
    const missing = names.filter((name) => !this.file.tensors.has(name))
    if (missing.length === names.length) return false
    if (missing.length > 0) throw this.read.unsupported(`biases in some projections only (${missing[0]} is missing)`)
    return true
  }

  #rotary({ theta: usualTheta = 10000, rotated = this.headSize, attentionFactor }: FamilyRotary): JsonObject {
    const theta = this.number('rope.freq_base', usualTheta)
    if (theta <= 0) throw malformed(this.file.path, `its ${this.key('rope.freq_base')} is ${theta}`)
    this.read.refuseUnless(this.key('rope.dimension_count'), rotated)
    return { rope_theta: theta, rope_scaling: this.#ropeScaling(theta, attentionFactor) }
  }

  #ropeScaling(theta: number, attentionFactor = false): ReturnType<typeof ropeScalingFromFactors> {
    const { read, file } = this
    const oldFactor = this.optionalNumber('rope.scale_linear')
    const type = read.text(this.key('rope.scaling.type'), oldFactor === null ? 'none' : 'linear')
    const original = this.optionalNumber('rope.scaling.original_context_length')
    const factor = this.number('rope.scaling.factor', oldFactor ?? 1)
    if (!attentionFactor || type !== 'yarn') read.refuseUnless(this.key('rope.scaling.attn_factor'), 1)
    const usual = 1 + 0.1 * Math.log(Math.max(1, factor))
    const attention = attentionFactor ? this.number('rope.scaling.attn_factor', usual) : usual
    if (factor <= 0) throw malformed(file.path, `its ${this.key('rope.scaling.factor')} is ${factor}`)

    if (file.tensors.has(ropeFactorsName)) {
      const { ropeFactors: factors, headSize } = this
      if (type !== 'none')
        throw read.unsupported(`${this.key('rope.scaling.type')} ${type} together with ${ropeFactorsName}`)
      if (!factors) throw new UsageError('missing-argument', `The values of ${ropeFactorsName} are needed.`)
      return ropeScalingFromFactors({ factors, theta, headSize, original, path: file.path })
    }
    if (type === 'none' || (type === 'linear' && factor === 1)) return null
    if (type === 'linear') return { rope_type: 'linear', factor }
    if (type !== 'yarn') throw read.unsupported(`${this.key('rope.scaling.type')} ${type}`)
    return {
      rope_type: 'yarn',
      factor,
      original_max_position_embeddings: original ?? Math.round(this.maxPositions / factor),
      beta_fast: this.number('rope.scaling.yarn_beta_fast', 32),
      beta_slow: this.number('rope.scaling.yarn_beta_slow', 1),
      // Files have the usual factor in float32.
      ...(Math.abs(attention - usual) > 1e-6 && { attention_factor: attention }),
    }
  }

  #vocabularySize(): number {
    const size = this.file.tensors.get('token_embd.weight')?.shape[0]
    if (size === undefined) throw malformed(this.file.path, 'it has no tensor token_embd.weight')
    return size
  }
}
