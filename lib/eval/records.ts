/** Rows of the data, one at a time. */
import { findDataFiles } from '../data/files/data-files.js'
import { readRecords } from '../data/files/readers.js'
import type { DataRecord } from '../data/rows/record.js'
import { InputError } from '../errors.js'

/** At most `limit` records of the sources, in order, until the signal is aborted. */
export async function* recordsOf(
  sources: readonly string[],
  { limit = Number.POSITIVE_INFINITY, signal }: { limit?: number; signal?: AbortSignal } = {},
): AsyncGenerator<DataRecord> {
  const files = await findDataFiles(sources)
  let count = 0
  for await (const record of readRecords(files)) {
    signal?.throwIfAborted()
    yield record
    if (++count >= limit) return
  }
  if (count === 0) throw new InputError('empty-data', `${sources.join(', ')}: no row was found.`)
}
