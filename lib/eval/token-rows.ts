import { checkIds, encodeRow, type TokenRow } from '../data/encode.js'
import type { Row } from '../data/rows/rows.js'
import type { RowsContext } from './task.js'

/** The token rows of a row, encoded as in training; several if a text is longer than `maxLength`. */
export function tokenRowsOf(
  row: Row,
  where: string,
  { model, options, template, templateContext: context, maxLength, truncated }: RowsContext,
): TokenRow[] {
  const { tokenizer, config } = model
  const encoded = encodeRow(row, where, { tokenizer, template, maxLength, trainOn: options.trainOn, context })
  for (const { ids } of encoded.rows) checkIds(ids, config.vocabularySize, where)
  if (encoded.truncated) truncated()
  return encoded.rows
}
