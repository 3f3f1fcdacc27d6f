/** Texts whose embeddings are compared: an anchor with positive and negative texts, or two texts with a score. */
import { quoted } from '../../common/errors.js'
import { malformedRow } from '../check.js'
import type { FormedRow } from '../formed-row.js'
import { formsFor } from '../forms.js'
import type { Row } from '../rows.js'
import type { RowKind } from './kind.js'

type RelatedPart = 'anchor' | 'positive' | 'negatives' | 'score'

const relation = formsFor<RelatedPart>('`--objective embed`')

/** Each positive text makes an example of its own. */
export const related: RowKind<RelatedPart> = {
  parts: ['anchor', 'positive'],
  needs: 'anchor and positive',
  forms: [
    relation(
      'related',
      'sentence-transformers',
      { anchor: ['anchor'], positive: ['positive'] },
      { negatives: ['negative', 'negatives'] },
    ),
    relation(
      'related-query',
      'queries and documents',
      { anchor: ['query'], positive: ['positive'] },
      { negatives: ['negative', 'negatives'] },
    ),
    relation('related-lists', 'FlagEmbedding', { anchor: ['query'], positive: ['pos'] }, { negatives: ['neg'] }),
    relation(
      'related-answer',
      'questions and answers',
      { anchor: ['question'], positive: ['answer'] },
      { negatives: ['negative', 'negatives'] },
    ),
    relation('related-response', 'queries and answers', { anchor: ['query'], positive: ['answer'] }),
    {
      name: 'scored-pair',
      madeFor: 'pairs of sentences (STS benchmark)',
      use: '`mora eval --task embed`; not trained',
      columns: { anchor: ['sentence1'], positive: ['sentence2'], score: ['score'] },
    },
    relation('related-sentences', 'paraphrases', { anchor: ['sentence1'], positive: ['sentence2'] }),
  ],
  mayLack: ['negatives', 'score'],
  compared: {
    objective: 'embed',
    mark: 'anchor',
    areWhole: true,
    documentNames: () => ['anchor', 'positive', 'negative'],
  },
  fits: ({ anchor, positive }) => Boolean(anchor && positive),
  read(row) {
    const { anchor, positives, negatives, score } = relatedTexts(row)
    if (score !== undefined) {
      throw malformedRow(
        row.where,
        'the row says how alike two texts are, and pairs that belong together are trained: give those alone, without scores',
      )
    }
    const textRow = (text: string): Row => ({ kind: 'text', text })
    const [first, others] = [textRow(anchor), negatives.map(textRow)]
    const examples = positives.map((positive) => [first, textRow(positive), ...others])
    return { kind: 'compared', areWhole: true, examples }
  },
}

/**
 * Returns an anchor with positive and negative texts; where a column has it, with the similarity of the anchor and the positive.
 * @throws InputError `malformed-row`
 */
export function relatedTexts(row: FormedRow<RelatedPart>) {
  const texts = (part: 'positive' | 'negatives'): string[] => {
    const value = row.value(part)
    if (!Array.isArray(value)) return row.has(part) ? [row.text(part)] : []
    if (value.every((text) => typeof text === 'string')) return value
    throw malformedRow(row.where, `${row.name(part)}: expected a text or a list of texts`)
  }
  const found = {
    anchor: row.text('anchor'),
    positives: texts('positive'),
    negatives: texts('negatives'),
  }
  if (found.positives.length === 0) throw malformedRow(row.where, `${row.name('positive')}: expected a text`)
  if (!row.has('score')) return { ...found, score: undefined }
  const score = Number(row.text('score'))
  if (Number.isFinite(score)) return { ...found, score }
  throw malformedRow(row.where, `${row.name('score')}: expected a number but received ${quoted(row.value('score'))}`)
}
