/** Rows of the data, one at a time. */

import { InputError } from '../common/errors.js'
import type { DataRecord } from '../data/rows/record.js'
import { namesOf, type OpenSource } from '../data/sources/open.js'

/** At most `limit` records of the sources, in order, until the signal is aborted. */
export async function* recordsOf(
  sources: readonly OpenSource[],
  { limit = Number.POSITIVE_INFINITY, signal }: { limit?: number; signal?: AbortSignal } = {},
): AsyncGenerator<DataRecord> {
  let count = 0
  for (const source of sources) {
    for await (const record of source.records()) {
      signal?.throwIfAborted()
      yield record
      if (++count >= limit) return
    }
  }
  if (count === 0) throw new InputError('empty-data', `${namesOf(sources)}: no row was found.`)
}
