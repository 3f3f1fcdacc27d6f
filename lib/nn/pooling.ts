/** How the states of a text become one: their mean, or that of its last token. */
export const POOLINGS = ['mean', 'last'] as const
export type Pooling = (typeof POOLINGS)[number]
