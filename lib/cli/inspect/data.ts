/** Shows data as training uses it: each row's tokens, and which of them are trained. */

import { counted } from '../../common/counted.js'
import { printable } from '../../common/printable.js'
import { type Dataset, loadRows } from '../../data/dataset.js'
import { describeReport, type SourceReport, sourceReports } from '../../data/sources/report.js'
import type { DataSummary } from '../../data/summary.js'
import type { TokeniseProgress } from '../../data/tokenise.js'
import { loadTokenizer, type Tokenizer } from '../../data/tokenizer/tokenizer.js'
import { encodingOptions, type InspectOptions, maxLengthOf, pastPositions } from '../../options/index.js'
import { formatCount, formatFacts } from '../terminal/format.js'

export interface DataRowFacts {
  ids: number[]
  /** 1 for each token that is predicted and trained, never the first of a row; else 0. */
  mask: number[]
  /** Null without a tokenizer. */
  text: string | null
}

export interface DataFacts {
  rows: DataRowFacts[]
  /** Rows that are not among these, as far as they were read. */
  others: number
  summary: DataSummary
  sources: SourceReport[]
  tokenizer: Tokenizer | null
}

export async function dataFacts(
  options: InspectOptions,
  {
    maxPositions = Number.POSITIVE_INFINITY,
    limit,
    shown = Number.POSITIVE_INFINITY,
    warn,
    onProgress,
  }: {
    maxPositions?: number
    /** Only these rows are read. */
    limit?: number
    /** Only these rows are returned. */
    shown?: number
    warn: (message: string) => void
    onProgress?: (progress: TokeniseProgress) => void
  },
): Promise<DataFacts> {
  const { model, data } = options
  const tokenizer = model === undefined ? null : await loadTokenizer(model, options)
  const maxLength = maxLengthOf(options.maxLength, maxPositions)
  const past = pastPositions(maxLength, maxPositions)
  if (past) warn(past)
  const { dataset, isPart } = await loadRows(
    data!,
    { ...encodingOptions(options), tokenizer, maxLength, keepWithoutTarget: true, onWarning: warn, onProgress },
    limit,
  )
  if (isPart) warn(`the summary is of the first ${counted(limit!, 'row')}: no more was read`)
  const count = Math.min(dataset.length, limit ?? shown)
  return {
    rows: await Promise.all(Array.from({ length: count }, (_, index) => rowFacts(dataset, index, tokenizer))),
    others: dataset.length - count,
    summary: dataset.summary,
    sources: sourceReports(dataset.parts),
    tokenizer,
  }
}

async function rowFacts(dataset: Dataset, index: number, tokenizer: Tokenizer | null): Promise<DataRowFacts> {
  const row = dataset.row(index)
  const mask = Array.from(row.mask)
  mask[0] = 0
  return { ids: Array.from(row.ids), mask, text: tokenizer ? await tokenizer.decode(row.ids) : null }
}

const GREEN = '\u001b[32m'
const RESET = '\u001b[0m'

export async function describeData(
  { rows, others, summary, sources, tokenizer }: DataFacts,
  { colours }: { colours: boolean },
): Promise<string> {
  const [open, close] = colours ? [GREEN, RESET] : ['⟦', '⟧']
  const shown: string[] = []
  for (const [index, row] of rows.entries()) {
    const trained = row.mask.reduce((sum, value) => sum + value, 0)
    const text = await markedText(row, tokenizer, open, close)
    shown.push(`row ${index + 1}: ${row.ids.length} tokens, ${trained} trained\n${text}\n`)
  }
  if (others > 0) shown.push(`... and ${formatCount(others)} more ${others === 1 ? 'row' : 'rows'}\n`)
  const facts = formatFacts([
    ['rows', formatCount(summary.rows)],
    ['tokens', formatCount(summary.tokens)],
    ['trained tokens', formatCount(summary.targetTokens)],
    ['longest row', `${formatCount(summary.longest)} tokens`],
    ['truncated rows', formatCount(summary.truncated)],
    ['rows without a target', formatCount(summary.withoutTarget)],
    ['legend', `${open}trained${close} and not trained`],
  ])
  return `${shown.join('\n')}\n${sources.map((source) => `${describeReport(source)}\n`).join('')}\n${facts}`
}

/** Returns the row's text, or its ids, with trained tokens between two marks. */
async function markedText(
  { ids, mask }: DataRowFacts,
  tokenizer: Tokenizer | null,
  open: string,
  close: string,
): Promise<string> {
  let marked = ''
  for (let start = 0; start < ids.length; ) {
    let end = start + 1
    while (end < ids.length && mask[end] === mask[start]) end++
    const run = ids.slice(start, end)
    const text = tokenizer ? printable(await tokenizer.decode(run)) : `${run.join(' ')} `
    marked += mask[start] ? `${open}${text}${close}` : text
    start = end
  }
  return marked
}
