import { UsageError } from '../../common/errors.js'
import { optionName } from '../../common/option-names.js'
import type { TargetModules } from './adapter.js'
import { isTarget } from './patterns.js'

/** A base model as adapters see it, without its values. */
export interface BaseModel {
  /** Shapes of all weights, by their names in Hugging Face's checkpoints. */
  readonly weights: ReadonlyMap<string, readonly number[]>
  /** Names of tied weights, and the weight that each stands for: a tied head's, for the embeddings. */
  readonly ties: ReadonlyMap<string, string>
  /** Names of weights [out, in] that checkpoints and adapter files store as [in, out]. */
  readonly transposed: ReadonlySet<string>
  /** D: width of the hidden states. */
  readonly hiddenSize: number
  /** Names of the labels of its head (`score`); null without one. */
  readonly labels: readonly string[] | null
  /** The prefix of the text model's modules in a model that wraps one; null for others. */
  readonly textPrefix: string | null
  /** Names of the weights of towers and projectors beside a wrapped text model. */
  readonly others?: ReadonlySet<string>
  /** Returns the values of a weight of the checkpoint, in float32; absent for a model without one. */
  readonly values?: ((weight: string) => Promise<Float32Array>) | undefined
  /**
   * Returns the hash of the checkpoint and how most of its values are stored (`bfloat16`, `q4_1`, …); null for a model without a
   * checkpoint.
   */
  identity(): { readonly hash: string; readonly format: string } | null
}

/** The weight of a head of labels, [labels, D], by its name in checkpoints and in adapters. */
export const SCORE_WEIGHT = 'score.weight'

/** Returns the base with a head of labels. */
export function withLabels(base: BaseModel, labels: readonly string[]): BaseModel {
  return { ...base, labels, weights: new Map([...base.weights, [SCORE_WEIGHT, [labels.length, base.hiddenSize]]]) }
}

/**
 * Returns the model's name of a module in an adapter's file. Adapters of a wrapped text model also come with the names of its own
 * class (`model.layers`) and of older transformers (`language_model.model.layers`), and adapters of any model with the names of the class
 * without a head (`layers`).
 */
export function moduleInModel(module: string, { weights, textPrefix }: BaseModel): string {
  const own = module
    .replace(/^language_model\.(?=lm_head)/, '')
    .replace(/^(language_model\.)?model\./, textPrefix ?? '$&')
  // The classes without a head have no name for what lies below it.
  const withoutHead = ['model.', 'transformer.', textPrefix ?? ''].map((prefix) => `${prefix}${module}`)
  return [module, own, ...withoutHead].find((name) => weights.has(`${name}.weight`)) ?? module
}

/** Throws if targets name a tied weight: an adapter of one name would change the other, too. */
export function requireUntied(targets: TargetModules, { ties }: BaseModel): void {
  if (!Array.isArray(targets)) return
  for (const [tied, original] of ties) {
    const [one, other] = [tied, original].map((weight) => weight.replace(/\.weight$/, '')) as [string, string]
    const named = [one, other].find((module) => isTarget(targets, module))
    if (named === undefined) continue
    throw new UsageError(
      'no-form',
      `${named} is tied to ${named === one ? other : one}, so an adapter of it would change both: leave it out, or train it whole (${optionName('modulesToSave')}).`,
    )
  }
}
