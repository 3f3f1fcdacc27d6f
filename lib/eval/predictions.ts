/** The option `predictions`: texts that were made elsewhere. */
import { InputError } from '../common/errors.js'
import { findDataFiles } from '../data/files/data-files.js'
import { readRecords } from '../data/files/readers.js'
import { malformedRow } from '../data/rows/check.js'
import { isJsonObject } from '../io/json.js'

/**
 * Reads a file of rows with the column `text`, one for each row of the data.
 * @throws InputError `malformed-row`, and `unfit-predictions` for another number of rows
 */
export async function readPredictions(path: string, rows: number): Promise<string[]> {
  const texts: string[] = []
  for await (const { value, where } of readRecords(await findDataFiles(path))) {
    const text = isJsonObject(value) ? value.text : undefined
    if (typeof text !== 'string') throw malformedRow(where, 'expected a row with the column text, which holds a text')
    texts.push(text)
  }
  if (texts.length === rows) return texts
  throw new InputError(
    'unfit-predictions',
    `${path}: expected ${rows} texts, one for each row of the data, but received ${texts.length}.`,
  )
}
