import { aText, described, either, requireArgument, requireOptionsOf, texts } from '../common/arguments.js'
import { type HubOptions, hubKinds } from '../hub/index.js'
import { isJsonObject } from '../io/json.js'
import { type DataPurpose, findDataFiles } from './files/data-files.js'
import { readRecords } from './files/readers.js'
import { malformedRow } from './rows/check.js'

/**
 * The rows of data as they stand there, one at a time, with whatever columns they have. A file of text is one row,
 * `{ text }`.
 *
 * ```ts
 * for await (const { question, answer } of readRows('openai/gsm8k:main:test')) console.log(question, answer)
 * ```
 *
 * @param source a file, a folder, a hub id, `-`, or several
 * @throws UsageError of missing or unfit sources
 * @throws InputError of damaged files and of rows that are no objects, with file and line or row
 */
export async function* readRows(
  source: string | readonly string[],
  options: HubOptions & { purpose?: DataPurpose } = {},
): AsyncGenerator<Record<string, unknown>> {
  requireArgument('source', source, either(described(aText, 'a path or hub id'), described(texts, 'a list of them')))
  requireOptionsOf('the options of readRows', options, hubKinds)
  for await (const { value, where } of readRecords(await findDataFiles(source, options))) {
    if (!isJsonObject(value)) throw malformedRow(where, 'expected an object')
    yield value
  }
}
