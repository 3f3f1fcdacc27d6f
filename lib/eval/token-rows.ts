import { checkIds, encodeRow, type TokenRow } from '../data/encode.js'
import type { Row } from '../data/rows.js'
import type { TaskContext } from './task.js'

/** The token rows of a row, encoded as in training. Several where a text is longer than `maxLength`. */
export function tokenRowsOf(
  row: Row,
  where: string,
  { model, options, template, maxLength, warn }: TaskContext,
): TokenRow[] {
  const { tokenizer, config } = model
  const { rows, truncated } = encodeRow(row, where, { tokenizer, template, maxLength, trainOn: options.trainOn })
  for (const { ids } of rows) checkIds(ids, config.vocabularySize, where)
  if (truncated) warn(`${where}: the row is longer than ${maxLength} tokens (max-length) and lost a part.`)
  return rows
}
