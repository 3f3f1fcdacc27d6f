import { expect, it } from 'vitest'
import { z } from 'zod'
import { schemaProblem } from '../../lib/io/schema-problem.js'

const row = z.looseObject({
  prompt: z.string(),
  answer: z.union([z.string().min(1), z.number()]),
  parts: z.union([z.string(), z.array(z.object({ text: z.string() }))]).optional(),
})

it.each<[unknown, string]>([
  [{ prompt: 'a' }, 'answer: expected string or number, received nothing'],
  [{ prompt: 'a', answer: true }, 'answer: expected string or number, received boolean'],
  [{ prompt: 'a', answer: '' }, 'answer: expected string to have >=1 characters'],
  [{ prompt: 'a', answer: 1, parts: 3 }, 'parts: expected string or array, received number'],
  [{ prompt: 'a', answer: 1, parts: [{ text: 5 }] }, 'parts: expected string, received number'],
  [{ answer: 1 }, 'prompt: expected string, received nothing'],
  [5, 'the row: expected object, received number'],
])('%j: %s', (value, problem) => {
  const { error } = row.safeParse(value)
  expect(schemaProblem(error!, 'the row')).toBe(problem)
})
