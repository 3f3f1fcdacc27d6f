/** Schemas of hyperparameters, with what they expect. */
import { numberBetween, wholeBetween } from '../common/arguments.js'

export const positiveTo = (most: number, least = Number.MIN_VALUE) => ({
  expects: `a number ${least === Number.MIN_VALUE ? 'above 0 up' : `from ${least}`} to ${most}`,
  field: numberBetween(least, most),
})

export const wholeTo = (most: number) => ({
  expects: `a whole number from 1 to ${most}`,
  field: wholeBetween(1, most),
})
