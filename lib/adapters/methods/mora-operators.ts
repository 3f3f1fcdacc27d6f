/** MoRA's operators, which mora.ts describes. */
export const OPERATORS = [
  'rotation',
  'sharing',
  'sharing-grouped',
  'sharing-grouped-in',
  'sharing-grouped-out',
  'decoupling',
  'truncation',
] as const

/** How MoRA compresses a layer's inputs and spreads its outputs; docs/methods/mora.md describes each. */
export type Operator = (typeof OPERATORS)[number]
