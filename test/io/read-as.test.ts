import { expect, it } from 'vitest'
import { z } from 'zod'
import { readAs } from '../../lib/io/read-as.js'

const row = z.looseObject({
  prompt: z.string(),
  kind: z.enum(['a', 'b']).optional(),
  tags: z.record(z.string(), z.number().min(0)).optional(),
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
  [{ prompt: 'a', answer: Number.NaN }, 'answer: expected string or number, received NaN'],
  [{ prompt: 'a', answer: 1, kind: 'c' }, 'kind: expected "a" or "b"'],
  [{ prompt: 'a', answer: 1, tags: 5 }, 'tags: expected object, received number'],
  [{ prompt: 'a', answer: 1, tags: { x: -1 } }, 'tags.x: expected number to be >=0'],
  [5, 'the row: expected object, received number'],
])('%j: %s', (value, problem) => {
  expect(() => readAs(row, value, 'the row', (words) => new Error(words))).toThrow(new Error(problem))
})
