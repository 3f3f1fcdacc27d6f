import { InputError, UsageError } from '../errors.js'
import type { RotaryScaling } from '../nn/rotary.js'

type Json = Readonly<Record<string, unknown>>

/** A decoder of the Llama family, from `config.json`. */
export interface ModelConfig {
  readonly architecture: 'llama' | 'mistral'
  readonly vocabularySize: number
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly layers: number
  readonly heads: number
  readonly keyValueHeads: number
  readonly headSize: number
  readonly epsilon: number
  readonly maxPositions: number
  readonly ropeTheta: number
  readonly ropeScaling: RotaryScaling
  readonly attentionBias: boolean
  readonly mlpBias: boolean
  readonly tiedEmbeddings: boolean
  /** Standard deviation of random weights, for training from scratch. */
  readonly initializerRange: number
  readonly eosIds: readonly number[]
  /** As read, to be written again beside merged weights. */
  readonly json: Json
}

const architectures: Readonly<Record<string, ModelConfig['architecture']>> = { llama: 'llama', mistral: 'mistral' }

// Keys that change nothing here: bookkeeping, generation defaults and what only other programs read.
const ignored = new Set(
  (
    'architectures attention_dropout auto_map bos_token_id dtype eos_token_id initializer_range is_llama_config ' +
    'model_type pad_token_id pretraining_tp return_dict torch_dtype transformers_version transformers.js_config use_cache ' +
    '_name_or_path unk_token_id sep_token_id tokenizer_class task_specific_params unsloth_version unsloth_fixed ' +
    '_attn_implementation_autoset _commit_hash max_length min_length do_sample temperature top_k top_p num_beams ' +
    'num_beam_groups diversity_penalty repetition_penalty length_penalty typical_p num_return_sequences id2label label2id ' +
    'problem_type finetuning_task chunk_size_feed_forward return_dict_in_generate early_stopping no_repeat_ngram_size ' +
    'encoder_no_repeat_ngram_size output_attentions output_hidden_states output_scores prefix pruned_heads torchscript ' +
    'use_bfloat16 tf_legacy_loss tie_encoder_decoder is_encoder_decoder is_decoder cross_attention_hidden_size ' +
    'add_cross_attention remove_invalid_values exponential_decay_length_penalty suppress_tokens begin_suppress_tokens ' +
    'forced_bos_token_id forced_eos_token_id bad_words_ids decoder_start_token_id'
  ).split(' '),
)

/** Reads and checks a configuration; what it does not know it refuses by name. `source` names the file in errors. */
export function parseConfig(json: Json, source: string): ModelConfig {
  const read = new ConfigReader(json, source)
  const modelType = String(json.model_type ?? 'without model_type')
  const architecture = Object.hasOwn(architectures, modelType) ? architectures[modelType] : undefined
  if (!architecture) {
    const known = Object.keys(architectures).join(', ')
    throw new UsageError(
      'unsupported-architecture',
      `${source}: architecture ${modelType} is not supported; supported: ${known}.`,
    )
  }
  read.require('hidden_act', ['silu', 'swish'], 'silu')
  read.require('rope_interleaved', [false], false)
  const hiddenSize = read.integer('hidden_size')
  const heads = read.integer('num_attention_heads')
  const headSize = read.integer('head_dim', hiddenSize / heads)
  const keyValueHeads = read.integer('num_key_value_heads', heads)
  const maxPositions = read.integer('max_position_embeddings', 2048)
  const window = read.value('sliding_window')
  if (typeof window === 'number' && window < maxPositions) {
    throw read.unsupported('sliding_window', window, 'a sliding window is not available yet')
  }
  const config: ModelConfig = {
    architecture,
    vocabularySize: read.integer('vocab_size'),
    hiddenSize,
    intermediateSize: read.integer('intermediate_size'),
    layers: read.integer('num_hidden_layers'),
    heads,
    keyValueHeads,
    headSize,
    epsilon: read.number('rms_norm_eps', 1e-6),
    maxPositions,
    ...rotary(read, maxPositions),
    attentionBias: read.flag('attention_bias'),
    mlpBias: read.flag('mlp_bias'),
    tiedEmbeddings: read.flag('tie_word_embeddings'),
    initializerRange: read.number('initializer_range', 0.02),
    eosIds: [json.eos_token_id].flat().filter((id): id is number => typeof id === 'number'),
    json,
  }
  if (heads % keyValueHeads !== 0 || headSize % 2 !== 0) {
    throw new InputError(
      'malformed-file',
      `${source}: ${heads} heads, ${keyValueHeads} key-value heads and head size ${headSize} do not fit together.`,
    )
  }
  read.refuseUnknown()
  return config
}

/** Rotary settings from the newer `rope_parameters` or the older `rope_theta` and `rope_scaling`. */
function rotary(read: ConfigReader, maxPositions: number): Pick<ModelConfig, 'ropeTheta' | 'ropeScaling'> {
  const parameters = read.value('rope_parameters') ?? read.value('rope_scaling') ?? {}
  if (typeof parameters !== 'object') throw read.malformed('rope_parameters', 'an object', parameters)
  const options = new ConfigReader(parameters as Json, `${read.source}, rope settings`)
  const ropeTheta = options.number('rope_theta', read.number('rope_theta', 10000))
  const type = String(options.value('rope_type') ?? options.value('type') ?? 'default')
  options.value('type')
  const original = () =>
    options.integer('original_max_position_embeddings', read.integer('original_max_position_embeddings', maxPositions))
  const scaling = (): RotaryScaling => {
    switch (type) {
      case 'default':
        return { type }
      case 'linear':
        return { type, factor: options.number('factor') }
      case 'llama3':
        return {
          type,
          factor: options.number('factor'),
          lowFrequencyFactor: options.number('low_freq_factor'),
          highFrequencyFactor: options.number('high_freq_factor'),
          originalPositions: original(),
        }
      case 'yarn': {
        const factor = options.number('factor')
        const scale = (by: number) => (factor <= 1 ? 1 : 0.1 * by * Math.log(factor) + 1)
        const [mscale, all] = [options.number('mscale', 0), options.number('mscale_all_dim', 0)]
        const usual = mscale && all ? scale(mscale) / scale(all) : scale(1)
        return {
          type,
          factor,
          originalPositions: original(),
          betaFast: options.number('beta_fast', 32),
          betaSlow: options.number('beta_slow', 1),
          attentionFactor: options.number('attention_factor', usual),
          truncate: options.value('truncate') !== false,
        }
      }
      default:
        throw options.unsupported('rope_type', type, 'known are default, linear, llama3 and yarn')
    }
  }
  const ropeScaling = scaling()
  options.refuseUnknown()
  return { ropeTheta, ropeScaling }
}

/** Reads values and remembers which keys were asked for. */
class ConfigReader {
  readonly #seen = new Set<string>()

  constructor(
    readonly json: Json,
    readonly source: string,
  ) {}

  /** A value; null counts as absent. */
  value(key: string): unknown {
    this.#seen.add(key)
    return this.json[key] ?? undefined
  }

  number(key: string, fallback?: number): number {
    const value = this.value(key) ?? fallback
    if (typeof value === 'number' && Number.isFinite(value)) return value
    throw this.malformed(key, 'a number', value)
  }

  integer(key: string, fallback?: number): number {
    const value = this.number(key, fallback)
    if (Number.isInteger(value) && value > 0) return value
    throw this.malformed(key, 'a positive integer', value)
  }

  flag(key: string): boolean {
    const value = this.value(key) ?? false
    if (typeof value === 'boolean') return value
    throw this.malformed(key, 'true or false', value)
  }

  require(key: string, allowed: readonly unknown[], fallback: unknown): void {
    const value = this.value(key) ?? fallback
    if (!allowed.includes(value)) throw this.unsupported(key, value, `supported: ${allowed.join(', ')}`)
  }

  refuseUnknown(): void {
    for (const [key, value] of Object.entries(this.json)) {
      if (this.#seen.has(key) || ignored.has(key) || value === null || value === false) continue
      throw this.unsupported(key, value, 'it is not known here, and guessing could change results')
    }
  }

  malformed(key: string, expected: string, value: unknown): InputError {
    return new InputError(
      'malformed-file',
      `${this.source}: expected ${expected} for ${key} but found ${JSON.stringify(value)}.`,
    )
  }

  unsupported(key: string, value: unknown, why: string): UsageError {
    return new UsageError(
      'unsupported-option',
      `${this.source}: ${key} ${JSON.stringify(value)} is not supported: ${why}.`,
    )
  }
}
