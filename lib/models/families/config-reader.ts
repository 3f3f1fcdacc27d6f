import { InputError, quoted, UsageError } from '../../errors.js'
import type { JsonObject } from '../../io/json.js'

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
    'forced_bos_token_id forced_eos_token_id bad_words_ids decoder_start_token_id cache_implementation ' +
    'attn_pdrop embd_pdrop resid_pdrop summary_activation summary_first_dropout summary_proj_to_labels summary_type ' +
    'summary_use_proj attn_implementation _attn_implementation gradient_checkpointing num_labels _num_labels n_special ' +
    'predict_special_tokens output_past'
  ).split(' '),
)

/** Reads the values of a configuration and remembers which keys were asked for. */
export class ConfigReader {
  readonly #seen = new Set<string>()

  constructor(
    readonly json: JsonObject,
    readonly source: string,
  ) {}

  /** A value; null counts as absent. */
  value(key: string): unknown {
    this.#seen.add(key)
    return this.json[key] ?? undefined
  }

  /** Accepts keys that a family's checkpoints have and transformers does not read. */
  ignore(...keys: readonly string[]): void {
    for (const key of keys) this.#seen.add(key)
  }

  number(key: string, fallback?: number): number {
    const value = this.value(key) ?? fallback
    if (typeof value === 'number' && Number.isFinite(value)) return value
    throw this.malformed(key, 'a number', value)
  }

  /** A number above 0. */
  positive(key: string, fallback?: number): number {
    const value = this.number(key, fallback)
    if (value > 0) return value
    throw this.malformed(key, 'a number above 0', value)
  }

  /** A number, or null where the value is null; `fallback` where the key is absent. */
  optionalNumber(key: string, fallback: number | null = null): number | null {
    const value = this.value(key)
    if (value !== undefined) return this.number(key)
    return this.json[key] === null ? null : fallback
  }

  /** One value for each layer, or undefined. */
  list(key: string, layers: number): readonly unknown[] | undefined {
    const value = this.value(key)
    if (value === undefined || (Array.isArray(value) && value.length === layers)) return value
    throw this.malformed(key, `a list of ${layers} values`, value)
  }

  /** `count` positive numbers. */
  positives(key: string, count: number): readonly number[] {
    const value = this.value(key)
    const isPositive = (entry: unknown) => typeof entry === 'number' && entry > 0 && Number.isFinite(entry)
    if (Array.isArray(value) && value.length === count && value.every(isPositive)) return value
    throw this.malformed(key, `${count} positive numbers`, value)
  }

  /** `count` positive integers. */
  integers(key: string, count: number): readonly number[] {
    const value = this.value(key)
    const isFit = (entry: unknown) => Number.isInteger(entry) && (entry as number) > 0 && (entry as number) < 2 ** 31
    if (Array.isArray(value) && value.length === count && value.every(isFit)) return value
    throw this.malformed(key, `${count} positive integers`, value)
  }

  /** A positive integer of at most `most`. */
  integer(key: string, fallback?: number, most = 2 ** 31 - 1): number {
    const value = this.number(key, fallback)
    if (Number.isInteger(value) && value > 0 && value <= most) return value
    throw this.malformed(key, `a positive integer up to ${most}`, value)
  }

  /** How many blocks there are: so few that the plan of each fits into memory. */
  layers(key: string): number {
    return this.integer(key, undefined, 10_000)
  }

  flag(key: string, fallback = false): boolean {
    const value = this.value(key) ?? fallback
    if (typeof value === 'boolean') return value
    throw this.malformed(key, 'true or false', value)
  }

  /** Refuses other values than those that are supported. */
  require(key: string, allowed: readonly unknown[], fallback: unknown): void {
    const value = this.value(key) ?? fallback
    if (value === undefined) throw this.malformed(key, allowed.join(' or '), value)
    if (!allowed.includes(value)) throw this.unsupported(key, value, `supported: ${allowed.join(', ')}`)
  }

  refuseUnknown(): void {
    for (const [key, value] of Object.entries(this.json)) {
      if (this.#seen.has(key) || ignored.has(key) || value === null || value === false) continue
      throw this.unsupported(key, value, 'it is not known here, and guessing could change results')
    }
  }

  malformed(key: string, expected: string, value: unknown): InputError {
    const found = value === undefined ? 'none' : quoted(value)
    return new InputError('malformed-file', `${this.source}: expected ${expected} for ${key} but found ${found}.`)
  }

  unsupported(key: string, value: unknown, why: string): UsageError {
    return new UsageError('unsupported-option', `${this.source}: ${key} ${quoted(value)} is not supported: ${why}.`)
  }
}
