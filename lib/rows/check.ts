/** Checks of rows, with errors that name the row. */
import type { z } from 'zod'
import { InputError } from '../common/errors.js'
import { readAs } from '../io/read-as.js'

/**
 * Returns a row if it fits a schema.
 * @throws InputError `malformed-row`
 */
export function checked<Schema extends z.ZodType>(schema: Schema, value: unknown, where: string): z.output<Schema> {
  return readAs(schema, value, 'the row', (problem) => malformedRow(where, problem))
}

export function malformedRow(where: string, problem: string): InputError {
  return new InputError('malformed-row', `${where}: ${problem}.`)
}
