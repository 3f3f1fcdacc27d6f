import { checkIds, encodeRow, type TokenRow } from '../data/encode.js'
import type { Row } from '../data/rows/rows.js'
import type { RowsContext } from './task.js'

/** The token rows of a row, encoded as in training; several if a text is longer than `maxLength`. */
export async function tokenRowsOf(
  row: Row,
  where: string,
  { model, options, template, templateContext: context, maxLength, truncated, signal }: RowsContext,
): Promise<TokenRow[]> {
  const { tokenizer, config } = model
  const encoded = await encodeRow(row, where, {
    tokenizer,
    template,
    maxLength,
    trainOn: options.trainOn,
    context,
    signal,
  })
  for (const { ids } of encoded.rows) checkIds(ids, config.vocabularySize, where)
  if (encoded.truncated) truncated()
  return encoded.rows
}
