import { InputError, quoted, UsageError } from '../../common/errors.js'
import type { JsonObject } from '../../io/json.js'

// Keys that have no effect here and need no warning: read by classes of transformers, or written by common tools.
const quiet = new Set(
  (
    '_name_or_path architectures attention_dropout attn_pdrop bos_token_id chunk_size_feed_forward dtype embd_pdrop ' +
    'eos_token_id id2label is_encoder_decoder label2id model_type num_labels output_attentions output_hidden_states pad_token_id ' +
    'pretraining_tp problem_type resid_pdrop return_dict summary_activation summary_first_dropout ' +
    'summary_proj_to_labels summary_type summary_use_proj transformers_version use_cache ' +
    'auto_map is_llama_config torch_dtype transformers.js_config unsloth_fixed unsloth_version'
  ).split(' '),
)

/** Reads the values of a configuration and records which keys were read. */
export class ConfigReader {
  readonly #seen = new Set<string>()
  readonly #inner: ConfigReader[] = []

  constructor(
    readonly json: JsonObject,
    readonly source: string,
  ) {}

  /** A value; null counts as absent. */
  value(key: string): unknown {
    this.#seen.add(key)
    return this.json[key] ?? undefined
  }

  /** A reader of an object in the configuration; `what` names it in errors. */
  inside(json: JsonObject, what: string): ConfigReader {
    const inner = new ConfigReader(json, `${this.source}, ${what}`)
    this.#inner.push(inner)
    return inner
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
  positives(key: string, count: number, what = 'numbers'): readonly number[] {
    const value = this.value(key)
    const isPositive = (entry: unknown) => typeof entry === 'number' && entry > 0 && Number.isFinite(entry)
    if (Array.isArray(value) && value.length === count && value.every(isPositive)) return value
    throw this.malformed(key, `${count} positive ${what}`, value)
  }

  /** `count` positive integers. */
  integers(key: string, count: number): readonly number[] {
    const value = this.positives(key, count, 'integers')
    if (value.every((entry) => Number.isInteger(entry) && entry < 2 ** 31)) return value
    throw this.malformed(key, `${count} positive integers`, value)
  }

  /** A positive integer of at most `most`. */
  integer(key: string, fallback?: number, most = 2 ** 31 - 1): number {
    const value = this.number(key, fallback)
    if (Number.isInteger(value) && value > 0 && value <= most) return value
    throw this.malformed(key, `a positive integer up to ${most}`, value)
  }

  /** The number of blocks, limited so that the plan of each fits into memory. */
  layers(key: string, fallback?: number): number {
    return this.integer(key, fallback, 10_000)
  }

  flag(key: string, fallback = false): boolean {
    const value = this.value(key) ?? fallback
    if (typeof value === 'boolean') return value
    throw this.malformed(key, 'true or false', value)
  }

  /** Throws unless the value is one of those allowed. */
  require(key: string, allowed: readonly unknown[], fallback: unknown): void {
    const value = this.value(key) ?? fallback
    if (value === undefined) throw this.malformed(key, allowed.join(' or '), value)
    if (!allowed.includes(value)) throw this.unsupported(key, value, `supported: ${allowed.join(', ')}`)
  }

  /** Keys with a value that were not read, nested objects included, except keys that need no warning. */
  unread(): string[] {
    const own = Object.keys(this.json).filter((key) => this.json[key] && !this.#seen.has(key) && !quiet.has(key))
    return [...new Set([...own, ...this.#inner.flatMap((inner) => inner.unread())])]
  }

  malformed(key: string, expected: string, value: unknown): InputError {
    const found = value === undefined ? 'none' : quoted(value)
    return new InputError('malformed-file', `${this.source}: expected ${expected} for ${key} but found ${found}.`)
  }

  unsupported(key: string, value: unknown, why: string): UsageError {
    return new UsageError('unsupported-option', `${this.source}: ${key} ${quoted(value)} is not supported: ${why}.`)
  }
}
