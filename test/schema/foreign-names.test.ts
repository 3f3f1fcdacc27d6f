import { expect, it } from 'vitest'
import { EvalSchema, GenerateSchema, TrainSchema } from '../../lib/options/index.js'
import { equivalentOf, FOREIGN } from '../../lib/schema/foreign-names.js'

const schemas = [TrainSchema, EvalSchema, GenerateSchema]

it.each(Object.keys(FOREIGN))('%s stands for what there is, and is no name here itself', (name) => {
  const known = schemas.map(({ shape }) => Object.keys(shape))
  expect(known.some((keys) => equivalentOf(name, keys) !== undefined)).toBe(true)
  expect(known.flat().map((key) => key.toLowerCase())).not.toContain(name)
})
