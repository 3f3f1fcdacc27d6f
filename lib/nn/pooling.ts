import { UsageError } from '../common/errors.js'

/** Poolings of the states of a text: their mean, or the state of the last token. */
export const POOLINGS = ['mean', 'last'] as const
export type Pooling = (typeof POOLINGS)[number]

/** The pooling of states to embeddings according to a model's files. */
export interface PoolingOfModel {
  /** Null or absent: nothing says. */
  readonly pooling?: Pooling | null
  /** Why its embeddings cannot be computed as its files say; null or absent: they can. */
  readonly unsupportedPooling?: string | null
}

/**
 * Returns the pooling of a model, by default `mean`.
 * @throws UsageError `unsupported-option` for one that its files say and that is not supported
 */
export function poolingOf({ pooling, unsupportedPooling }: PoolingOfModel): Pooling {
  if (pooling) return pooling
  if (!unsupportedPooling) return 'mean'
  throw new UsageError(
    'unsupported-option',
    `The model's embeddings cannot be computed as sentence-transformers does, since ${unsupportedPooling}: give pooling (${POOLINGS.join(' or ')}) for others.`,
  )
}
