/**
 * Models that wrap a text model (`…ForConditionalGeneration`): its configuration is `text_config`, and its modules lie below
 * `model.language_model`. Towers, projectors and other tensors of such a checkpoint are kept as they are.
 */

export interface Wrapper {
  /** The text model's `model_type`, where `text_config` has none. */
  readonly text: string
  /** Whether the head is tied where the outer configuration does not say; that of `text_config` is not read. */
  readonly tied: boolean
}

/** By `model_type`. */
export const wrappers: ReadonlyMap<unknown, Wrapper> = new Map([
  ['gemma3', { text: 'gemma3_text', tied: true }],
  ['gemma4', { text: 'gemma4_text', tied: true }],
  ['gemma4_unified', { text: 'gemma4_unified_text', tied: true }],
  ['mistral3', { text: 'mistral', tied: true }],
  ['qwen3_5', { text: 'qwen3_5_text', tied: false }],
])

/** The prefix of the text model's modules in a wrapped model, in adapters too; `model.` in its own class. */
export const WRAPPED_PREFIX = 'model.language_model.'
