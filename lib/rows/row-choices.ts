/** Changes, filters and limits of rows as they are read. */
import { aFunction, wholeFrom } from '../common/arguments.js'
import { isJsonObject } from '../io/json.js'
import { malformedRow } from './check.js'
import type { DataRecord } from './record.js'
import type { AnyRow } from './sources/source.js'

/** Default limit of a row's tokens; a model with fewer positions lowers it. */
export const DEFAULT_MAX_LENGTH = 1024

/** Treatments of a row with more tokens than the limit. */
export const LONG_ROWS = ['keep-start', 'keep-end', 'split', 'drop', 'error'] as const
export type LongRows = (typeof LONG_ROWS)[number]

/** Functions that change rows of a type to `Mapped` and filter them as they are read. */
export interface RowChoices<Row = AnyRow, Mapped = unknown> {
  /** Returns the row to train in place of one that was read; evaluation data stays as it is. A resumed run needs the same function. */
  map?: (row: Row) => Mapped | Promise<Mapped>
  /** Tells whether to train a row, as `map` returned it; evaluation data stays whole. A resumed run needs the same function. */
  filter?: (row: unknown extends Mapped ? AnyRow : NoInfer<Mapped>) => boolean | Promise<boolean>
  /** Maximum number of tokens of a row; longer rows are left out before `maxLength` applies. */
  maxTokens?: number
}

/** Schemas of the options. */
export const rowChoiceKinds = {
  map: aFunction.optional(),
  filter: aFunction.optional(),
  maxTokens: wholeFrom(1).optional(),
}

/**
 * Returns the record to train; null if it is left out.
 * @throws InputError `malformed-row` for a value that is no object, and errors of the functions
 */
export async function chosenRecord(record: DataRecord, { map, filter }: RowChoices): Promise<DataRecord | null> {
  const mapped = map ? { value: await map(rowOf(record)), where: record.where } : record
  return !filter || (await filter(rowOf(mapped))) ? mapped : null
}

function rowOf({ value, where }: DataRecord): Record<string, unknown> {
  if (isJsonObject(value)) return value
  throw malformedRow(where, 'expected an object')
}
