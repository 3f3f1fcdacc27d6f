import { InputError, UsageError } from '../common/errors.js'
import { checkIds, type TokenRow } from '../data/encode.js'
import { rowOf } from '../data/rows/rows.js'
import { namesOf } from '../data/sources/open.js'
import { requireTokenizer } from '../generate/index.js'
import { recordsOf } from './records.js'
import { scoreRows, sum } from './score.js'
import type { PerplexityResult, RowsContext, TaskContext } from './task.js'
import { tokenRowsOf } from './token-rows.js'
import { type WindowOptions, windowsOf } from './windows.js'

/** What is scored at a time: a row, or a window of a text. */
export interface Part extends TokenRow {
  newTokens: number
}

/**
 * Perplexity is exp of the mean negative log-probability, over windows of texts and target tokens of other rows. The task
 * keeps only sums, so memory does not grow with the data.
 */
export async function perplexity(context: TaskContext): Promise<PerplexityResult> {
  const { model, options, data, done, signal } = context
  let total = 0
  let tokens = 0
  let targets = 0
  for await (const { row, logprobs } of scoreRows(model, partsOf(context), { batchSize: options.batchSize, signal })) {
    const loss = -sum(logprobs)
    total += loss
    tokens += row.newTokens
    targets += logprobs.length
    const line = { tokens: row.newTokens, targets: logprobs.length, loss: loss / logprobs.length }
    await done(line, `perplexity ${Math.exp(total / targets).toPrecision(5)}`)
  }
  if (targets === 0) {
    throw new InputError('no-targets', `${namesOf(data)}: no token is predicted, so there is no perplexity.`)
  }
  const loss = total / targets
  return { perplexity: Math.exp(loss), loss, tokens, targets }
}

/** Windows of texts, and token rows with a target of anything else; `limit` of them. */
export async function* partsOf(context: RowsContext): AsyncGenerator<Part> {
  const { options, data, text, signal } = context
  let count = 0
  for await (const record of recordsOf(data, { signal })) {
    const { where } = record
    const row = rowOf(record, text)
    const parts =
      row.kind === 'text'
        ? await textWindows(row.text, where, context)
        : rowParts(await tokenRowsOf(row, where, context))
    for (const part of parts) {
      yield part
      if (++count === options.limit) return
    }
  }
}

async function textWindows(
  text: string,
  where: string,
  { model, options, maxLength, signal }: RowsContext,
): Promise<Iterable<Part>> {
  const ids = Int32Array.from(await requireTokenizer(model).encodeText(text, signal))
  checkIds(ids, model.config.vocabularySize, where)
  return windowsOf(ids, windowOptions(options, maxLength, model.config.maxPositions))
}

function windowOptions(
  options: { window?: number; stride?: number },
  maxLength: number,
  maxPositions: number,
): WindowOptions {
  const { window = maxLength } = options
  const { stride = window } = options
  if (window > maxPositions) {
    throw new UsageError('bad-value', `The window of ${window} tokens exceeds the model's ${maxPositions} positions.`)
  }
  if (stride > window) {
    throw new UsageError('unfit-options', `The stride of ${stride} tokens exceeds the window of ${window}.`)
  }
  return { window, stride }
}

function rowParts(rows: readonly TokenRow[]): Part[] {
  return rows.filter(({ mask }) => mask.includes(1, 1)).map((row) => ({ ...row, newTokens: row.ids.length }))
}
