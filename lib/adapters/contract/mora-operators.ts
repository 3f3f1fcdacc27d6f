/** MoRA's operators; lib/adapters/methods/mora.ts says what each does. */
export const OPERATORS = [
  'rotation',
  'sharing',
  'sharing-grouped',
  'sharing-grouped-in',
  'sharing-grouped-out',
  'decoupling',
  'truncation',
] as const

export type Operator = (typeof OPERATORS)[number]
