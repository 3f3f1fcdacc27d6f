import { UsageError } from '../errors.js'
import type { AdapterProvenance } from './adapter-folder.js'

/** What tells checkpoints apart. */
export interface BaseIdentity {
  readonly hash: string
  /** How most values are stored: `bfloat16`, `q4_1`, … */
  readonly format: string
}

/** What adapters need to know of the model that they belong to, its values aside. */
export interface BaseModel {
  /** The shape of every weight by its name in Hugging Face's checkpoints. */
  readonly weights: ReadonlyMap<string, readonly number[]>
  /** Names that stand for another weight: a tied head's for the embeddings'. */
  readonly ties: ReadonlyMap<string, string>
  /** Null for a model that no file holds. */
  identity(): BaseIdentity | null
}

/**
 * Refuses an adapter that was trained on another base, as far as both are known. W₁ + ΔW is not W₂ + ΔW: the same weights
 * in another format are another base, too.
 */
export function requireSameBase(folder: string, { baseHash, baseFormat }: AdapterProvenance, base: BaseModel): void {
  if (baseHash === undefined) return
  const identity = base.identity()
  if (!identity || identity.hash === baseHash) return
  const described = (hash: string, format = 'an unknown format') => `sha256 ${hash.slice(0, 12)}…, ${format}`
  throw new UsageError(
    'other-base',
    `The adapter ${folder} was trained on another base model (${described(baseHash, baseFormat)}) than this one ` +
      `(${described(identity.hash, identity.format)}): use the base that it was trained on, or allow the other one (allowOtherBase).`,
  )
}
