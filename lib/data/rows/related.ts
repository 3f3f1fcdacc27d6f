/** Rows of texts whose embeddings are compared: an anchor with positive and negative texts, or two texts with a score. */
import { quoted } from '../../common/errors.js'
import { malformedRow } from './check.js'
import type { FormedRow } from './formed-row.js'
import type { Weighed } from './rows.js'

/** An anchor with positive and negative texts. */
export interface RelatedRow extends Weighed {
  kind: 'related'
  anchor: string
  /** Each positive text makes a row of its own. */
  positives: string[]
  negatives: string[]
  /** Similarity of the anchor and the positive text; absent without a column. */
  score?: number
}

/** @throws InputError `malformed-row` */
export function relatedRow(row: FormedRow): RelatedRow {
  const texts = (part: 'positive' | 'negatives'): string[] => {
    const value = row.value(part)
    if (!Array.isArray(value)) return row.has(part) ? [row.text(part)] : []
    if (value.every((text) => typeof text === 'string')) return value
    throw malformedRow(row.where, `${row.name(part)}: expected a text or a list of texts`)
  }
  const related: RelatedRow = {
    kind: 'related',
    anchor: row.text('anchor'),
    positives: texts('positive'),
    negatives: texts('negatives'),
  }
  if (related.positives.length === 0) throw malformedRow(row.where, `${row.name('positive')}: expected a text`)
  if (!row.has('score')) return related
  const score = Number(row.text('score'))
  if (Number.isFinite(score)) return { ...related, score }
  throw malformedRow(row.where, `${row.name('score')}: expected a number but received ${quoted(row.value('score'))}`)
}
