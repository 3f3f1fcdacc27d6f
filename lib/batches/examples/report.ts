/** Reports to the user how the columns and rows of each source were read. */
import { counted } from '../../common/printable.js'
import { describeSource, type RecordedSource } from '../../rows/sources/source.js'
import type { LongRowCounts } from './long-rows.js'
import type { SourceFacts } from './tokenise.js'

/** Report on reading a source of rows. */
export interface SourceReport {
  /** The source's path or hub id, or a description of rows from memory. */
  source: string
  /** The form of the rows, or several forms separated by commas; docs/formats/data.md lists them. */
  form: string
  /** Columns that were read. */
  columns: string[]
  /** Columns that were not read. */
  ignored: string[]
  /** Number of rows. */
  rows: number
  /** Tokens of the longest row, before anything was cut. */
  longest: number
  /** Rows of more than `maxLength` tokens that were cut, split or left out. */
  cut: number
  /** Counts of the changes to these rows. */
  longRows: LongRowCounts
}

export function sourceReports(
  parts: readonly (Partial<SourceFacts> & { readonly source: RecordedSource })[],
): SourceReport[] {
  return parts.flatMap(({ source, form, columns, ignored, read, longest, truncated, cut }) => {
    if (form === undefined) return []
    const left = cut!.dropped + cut!.questions + (cut!.over ?? 0)
    return {
      source: describeSource(source),
      form,
      columns: columns!,
      ignored: ignored!,
      rows: read!,
      longest: longest!,
      cut: truncated! + left,
      longRows: cut!,
    }
  })
}

/** Returns a sentence about how a source was read. */
export function describeReport({ source, rows, longest, cut, ...reading }: SourceReport): string {
  const shortened = cut > 0 ? `, ${cut} too long` : ''
  return `${source}: ${counted(rows, 'row')} as ${describeReading(reading)}, the longest of ${counted(longest, 'token')}${shortened}`
}

/** Returns the form of rows, with the columns that are used, and the columns that are not. */
export function describeReading({
  form,
  columns,
  ignored,
}: Pick<SourceReport, 'form' | 'columns' | 'ignored'>): string {
  const unread = ignored.length > 0 ? `; not read: ${ignored.join(', ')}` : ''
  return `${form} (${columns.join(', ')}${unread})`
}
