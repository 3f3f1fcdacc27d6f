import { expect, it } from 'vitest'
import { EvalSchema, GenerateSchema, TrainSchema } from '../../lib/options/index.js'
import { equivalentOf, FOREIGN } from '../../lib/schema/foreign-names.js'

const schemas = [TrainSchema, EvalSchema, GenerateSchema]

it.each(Object.keys(FOREIGN))('%s is an alias of an existing option, and not an option itself', (name) => {
  const known = schemas.map(({ shape }) => Object.keys(shape))
  expect(known.some((keys) => equivalentOf(name, keys) !== undefined)).toBe(true)
  expect(known.flat().map((key) => key.toLowerCase())).not.toContain(name)
})
