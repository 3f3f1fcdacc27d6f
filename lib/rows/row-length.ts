/** Default limit of a row's tokens; a model with fewer positions lowers it. */
export const DEFAULT_MAX_LENGTH = 1024

/** Treatments of a row with more tokens than the limit. */
export const LONG_ROWS = ['keep-start', 'keep-end', 'split', 'drop', 'error'] as const
export type LongRows = (typeof LONG_ROWS)[number]
