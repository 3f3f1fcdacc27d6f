/** Schemas of hyperparameters, with what they expect. */
import { z } from 'zod'
import { wholeBetween } from '../common/arguments.js'

export function positiveTo(most: number, least = Number.MIN_VALUE) {
  const expects = `a number ${least === Number.MIN_VALUE ? 'above 0 up' : `from ${least}`} to ${most}`
  return { expects, field: z.number({ error: expects }).min(least, { error: expects }).max(most, { error: expects }) }
}

export const wholeTo = (most: number) => ({
  expects: `a whole number from 1 to ${most}`,
  field: wholeBetween(1, most),
})
