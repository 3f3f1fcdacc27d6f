import { UsageError } from '../../common/errors.js'
import type { TargetModules } from './adapter.js'
import { isTarget } from './patterns.js'

/** The identity of a checkpoint. */
export interface BaseIdentity {
  readonly hash: string
  /** How most values are stored: `bfloat16`, `q4_1`, … */
  readonly format: string
}

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
  /** Null for a model without a checkpoint. */
  identity(): BaseIdentity | null
}

/** The weight of a head of labels, [labels, D], by its name in checkpoints and in adapters. */
export const SCORE_WEIGHT = 'score.weight'

/** Returns the base with a head of labels. */
export function withLabels(base: BaseModel, labels: readonly string[]): BaseModel {
  return { ...base, labels, weights: new Map([...base.weights, [SCORE_WEIGHT, [labels.length, base.hiddenSize]]]) }
}

/**
 * Returns the model's name of a module in an adapter's file. Adapters of a wrapped text model also come with the names of its own
 * class (`model.layers`) and of older transformers (`language_model.model.layers`).
 */
export function moduleInModel(module: string, { weights, textPrefix }: BaseModel): string {
  if (textPrefix === null) return module
  const own = module.replace(/^language_model\.(?=lm_head)/, '').replace(/^(language_model\.)?model\./, textPrefix)
  return weights.has(`${own}.weight`) ? own : module
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
      `${named} is tied to ${named === one ? other : one}, so an adapter of it would change both: leave it out, or train it whole (modulesToSave).`,
    )
  }
}
