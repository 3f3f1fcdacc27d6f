/**
 * Mutants that compute the same as what they are made from, by file: what their line has. Each with the reason.
 */
export const equivalents = {}
