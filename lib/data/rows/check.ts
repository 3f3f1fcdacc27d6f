/** What is wrong with a row, by where it stands. */
import type { z } from 'zod'
import { InputError } from '../../common/errors.js'
import { schemaProblem } from '../../io/schema-problem.js'

/**
 * A row of the form that a schema has.
 * @throws InputError `malformed-row`
 */
export function checked<Schema extends z.ZodType>(schema: Schema, value: unknown, where: string): z.output<Schema> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw malformedRow(where, schemaProblem(result.error, 'the row'))
}

export function malformedRow(where: string, problem: string): InputError {
  return new InputError('malformed-row', `${where}: ${problem}.`)
}
