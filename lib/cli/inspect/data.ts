/** Shows data as training uses it: the tokens and targets of each row. */

import { type Dataset, loadRows } from '../../batches/dataset.js'
import { type Document, isPredicted } from '../../batches/examples/example.js'
import { describeReport, type SourceReport, sourceReports } from '../../batches/examples/report.js'
import type { DataSummary } from '../../batches/examples/summary.js'
import type { TokeniseProgress } from '../../batches/examples/tokenise.js'
import { counted, printable } from '../../common/printable.js'
import { objectiveNamed } from '../../objectives/index.js'
import { loadQuestions } from '../../objectives/questions.js'
import { encodingOptions, type InspectOptions, maxLengthOf, pastPositions } from '../../options/index.js'
import { kindNamed, type RowKindName } from '../../rows/kinds/index.js'
import { sourcesOf } from '../../rows/sources/source.js'
import { loadTokenizer, type Tokenizer } from '../../text/tokenizer.js'
import { formatCount, formatFacts } from '../terminal/format.js'

interface DocumentFacts {
  /** The document's role in the objective, such as `chosen`; absent for a row of one text or conversation. */
  name?: string
  ids: number[]
  /** 1 for each token that is predicted and trained, never the first of a row; else 0. */
  mask: number[]
  /** Null without a tokenizer. */
  text: string | null
}

/** A row: one document, or the documents that an objective compares or gives a label. */
type DataRowFacts =
  | DocumentFacts
  | {
      documents: DocumentFacts[]
      /** The name of the row's label. */
      label?: string
      /** Margin by which the chosen answer is better. */
      margin?: number
    }

interface DataFacts {
  rows: DataRowFacts[]
  /** Number of rows that were read but are not among `rows`. */
  others: number
  /** Null for prompts, whose completions are sampled in training. */
  summary: DataSummary | null
  /** Whether tokens of the rows are predicted. */
  arePredicted: boolean
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
    /** Maximum number of rows to read. */
    limit?: number
    /** Maximum number of rows to return. */
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
  const objective = objectiveNamed(options.objective)
  const how = { ...encodingOptions(options), tokenizer, maxLength, onWarning: warn, onProgress }
  const compared = kindNamed(objective?.rows)?.compared
  if (objective?.needs?.includes('rewards')) {
    const questions = await loadQuestions(sourcesOf(data)!, how, {
      maxNewTokens: options.maxNewTokens ?? DEFAULT_NEW_TOKENS,
    })
    const count = Math.min(questions.length, limit ?? shown)
    const rows = Array.from({ length: count }, async (_, index) => ({
      documents: await Promise.all(
        questions.row(index).documents.map((one) => documentFacts(one, tokenizer, 'prompt')),
      ),
    }))
    const others = questions.length - count
    return { rows: await Promise.all(rows), others, summary: null, arePredicted: false, sources: [], tokenizer }
  }
  const { dataset, isPart } = await loadRows(
    data!,
    { ...how, rows: objective?.rows, labels: options.labels, keepWithoutTarget: true },
    limit,
  )
  if (isPart) warn(`the summary is of the first ${counted(limit!, 'row')}: no more was read`)
  const count = Math.min(dataset.length, limit ?? shown)
  return {
    rows: await Promise.all(
      Array.from({ length: count }, (_, index) => rowFacts(dataset, index, tokenizer, objective?.rows)),
    ),
    others: dataset.length - count,
    summary: dataset.summary,
    arePredicted: !compared?.areWhole,
    sources: sourceReports(dataset.parts),
    tokenizer,
  }
}

/** Default number of tokens that objectives that sample reserve for a completion. */
const DEFAULT_NEW_TOKENS = 256

async function rowFacts(
  dataset: Dataset,
  index: number,
  tokenizer: Tokenizer | null,
  kind: RowKindName | undefined,
): Promise<DataRowFacts> {
  const { documents, label = 0 } = dataset.row(index)
  const compared = kindNamed(kind)?.compared
  if (!compared) return documentFacts(documents[0]!, tokenizer)
  const names = compared.documentNames(label)
  return {
    documents: await Promise.all(documents.map((one, i) => documentFacts(one, tokenizer, names[i] ?? names.at(-1)))),
    ...(dataset.labels && { label: dataset.labels[label]! }),
    ...(kind === 'pairs' && label !== 0 && { margin: label }),
  }
}

async function documentFacts(
  { ids, mask }: Document,
  tokenizer: Tokenizer | null,
  name?: string,
): Promise<DocumentFacts> {
  return {
    ...(name !== undefined && { name }),
    ids: Array.from(ids),
    mask: Array.from(ids, (_, at) => Number(isPredicted(mask, at))),
    text: tokenizer ? await tokenizer.decode(ids) : null,
  }
}

const GREEN = '\u001b[32m'
const RESET = '\u001b[0m'

export async function describeData(
  { rows, others, summary, arePredicted, sources, tokenizer }: DataFacts,
  { colours }: { colours: boolean },
): Promise<string> {
  const [open, close] = colours ? [GREEN, RESET] : ['⟦', '⟧']
  const shown: string[] = []
  for (const [index, row] of rows.entries()) {
    const { documents, label, margin } = 'documents' in row ? row : { documents: [row] }
    const judgement = [
      label !== undefined && `, label ${printable(label)}`,
      margin !== undefined && `, margin ${margin}`,
    ]
    for (const document of documents) {
      const { ids, mask, name } = document
      const trained = arePredicted ? `, ${mask.filter(Boolean).length} trained` : ''
      const what = `row ${index + 1}${name === undefined ? '' : `, ${name}`}${judgement.filter(Boolean).join('')}`
      shown.push(`${what}: ${ids.length} tokens${trained}\n${await markedText(document, tokenizer, open, close)}\n`)
    }
  }
  if (others > 0) shown.push(`... and ${formatCount(others)} more ${others === 1 ? 'row' : 'rows'}\n`)
  const predicted = (...facts: [string, string][]) => (arePredicted ? facts : [])
  const facts = summary
    ? formatFacts([
        ['rows', formatCount(summary.rows)],
        ['tokens', formatCount(summary.tokens)],
        ...predicted(['trained tokens', formatCount(summary.targetTokens)]),
        ['longest row', `${formatCount(summary.longest)} tokens`],
        ['truncated rows', formatCount(summary.truncated)],
        ...predicted(
          ['rows without a target', formatCount(summary.withoutTarget)],
          ['legend', `${open}trained${close} and not trained`],
        ),
      ])
    : formatFacts([['prompts', formatCount(rows.length + others)]])
  return `${shown.join('\n')}\n${sources.map((source) => `${describeReport(source)}\n`).join('')}\n${facts}`
}

/** Returns the row's text, or its ids, with trained tokens between two marks. */
async function markedText(
  { ids, mask }: DocumentFacts,
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
