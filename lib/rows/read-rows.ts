import { z } from 'zod'
import { aText, check, expecting, listOfTexts, optionsSchema } from '../common/arguments.js'
import { type HubOptions, hubKinds } from '../hub/index.js'
import { isJsonObject } from '../io/json.js'
import { malformedRow } from './check.js'
import { type DataPurpose, findDataFiles } from './files/data-files.js'
import { readRecords } from './files/readers.js'

const readRowsArguments = {
  source: z.union([expecting('a path or hub id', aText), expecting('a list of them', listOfTexts)]),
  options: optionsSchema('the options of readRows', hubKinds),
}

/**
 * Yields the rows of data unchanged, one at a time, with all their columns. A file of text is one row, `{ text }`.
 *
 * ```ts
 * import { readRows } from 'node-mora'
 *
 * for await (const { prompt, completion } of readRows(['train.jsonl', 'train.csv'])) console.log(prompt, completion)
 * ```
 *
 * @param source a file, a folder, a hub id, `-`, or several
 * @throws UsageError for missing or unsupported sources
 * @throws InputError for damaged files and for rows that are not objects, with file and line or row
 */
export async function* readRows(
  source: string | readonly string[],
  options: HubOptions & { purpose?: DataPurpose } = {},
): AsyncGenerator<Record<string, unknown>> {
  check({ source, options }, readRowsArguments)
  for await (const { value, where } of readRecords(await findDataFiles(source, options))) {
    if (!isJsonObject(value)) throw malformedRow(where, 'expected an object')
    yield value
  }
}
