/** Rows of the data, one at a time. */
import type { z } from 'zod'
import { type DataRecord, findDataFiles, readRecords } from '../data/readers.js'
import { malformedRow } from '../data/rows.js'
import { InputError } from '../errors.js'

/** At most `limit` records of the sources, in order. */
export async function* recordsOf(
  sources: readonly string[],
  limit = Number.POSITIVE_INFINITY,
): AsyncGenerator<DataRecord> {
  const files = await findDataFiles(sources)
  let count = 0
  for await (const record of readRecords(files)) {
    yield record
    if (++count >= limit) return
  }
  if (count === 0) throw new InputError('empty-data', `${sources.join(', ')}: no row was found.`)
}

/** Checks a row of a task; further keys are ignored. */
export function checkRow<Schema extends z.ZodType>(schema: Schema, { value, where }: DataRecord): z.output<Schema> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const { path, message } = result.error.issues[0]!
  const name = path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('')
  throw malformedRow(where, `${name.replace(/^\./, '') || 'the row'}: ${message.replace(/^Invalid input: /, '')}`)
}
