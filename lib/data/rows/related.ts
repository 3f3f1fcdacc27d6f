/** Rows of texts that are compared as wholes: a text with others that belong to it or do not, or two with a score. */
import { quoted } from '../../common/errors.js'
import { malformedRow } from './check.js'
import type { FormedRow } from './formed-row.js'
import type { Weighed } from './rows.js'

/** A text with one that belongs to it, and others that do not. */
export interface RelatedRow extends Weighed {
  kind: 'related'
  anchor: string
  /** Each of them makes a row of its own. */
  positives: string[]
  negatives: string[]
  /** How alike the anchor and the positive are; absent if the row does not say. */
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
