/** Checks of rows, with errors that name the row. */
import type { z } from 'zod'
import { InputError } from '../../common/errors.js'
import { schemaProblem } from '../../io/schema-problem.js'

/**
 * Returns a row if it fits a schema.
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
