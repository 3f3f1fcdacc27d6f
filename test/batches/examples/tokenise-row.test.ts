/** One row becomes what `loadDataset` makes of it. */
import { beforeAll, expect, test } from 'vitest'
import { loadDataset, tokeniseRow } from '../../../lib/batches/dataset.js'
import type { Tokenizer } from '../../../lib/text/tokenizer.js'
import { loadSmallTokenizer } from '../../text/tokenizer/small-tokenizer.js'

let tokenizer: Tokenizer
beforeAll(async () => {
  tokenizer = await loadSmallTokenizer()
})

const rows: Record<string, unknown>[] = [
  { prompt: 'How many?', completion: 'six' },
  { text: 'Many words of one text, which is cut into several rows.' },
  { instruction: 'Add.', input: '2 and 3', output: '5' },
  { input_ids: [3, 4, 5, 6], labels: [-100, -100, 5, 6] },
  { question: 'How many?', words: 'seven' },
]

test.each([
  { maxLength: 512 },
  { maxLength: 6 },
  { maxLength: 6, longRows: 'keep-end' },
  { maxLength: 8, longRows: 'drop', trainOn: 'all' },
] as const)('a row is what loadDataset makes of it, with %o', async (how) => {
  for (const row of rows) {
    const columns = 'words' in row ? { columns: { prompt: 'question', completion: 'words' } } : {}
    const options = { tokenizer, ...how, ...columns }
    const { documents, length } = await tokeniseRow(row, options)
    const all = await loadDataset([{ input_ids: [1, 2] }, row], {
      ...options,
      ...(columns.columns && { columns: undefined }),
    }).catch(() => null)
    const whole = columns.columns ? await loadDataset([row], options).catch(() => null) : all
    const skipped = columns.columns ? 0 : 1
    const expected = whole
      ? Array.from({ length: whole.length - skipped }, (_, i) => whole.row(i + skipped).documents[0])
      : []
    const trained = documents.filter(({ mask }) => mask.subarray(1).includes(1))
    expect(trained).toEqual(expected)
    expect(length).toBeGreaterThanOrEqual(Math.max(0, ...documents.map(({ ids }) => ids.length)))
  }
})

test('a row that is cut says how', async () => {
  const { documents, length, cut } = await tokeniseRow(
    { prompt: 'How many?', completion: 'six' },
    { tokenizer, maxLength: 4, longRows: 'drop' },
  )
  expect({ documents, cut }).toEqual({ documents: [], cut: { dropped: 1 } })
  expect(length).toBeGreaterThan(4)
})

test('a row in which nothing is trained is returned', async () => {
  const { documents } = await tokeniseRow({ input_ids: [1, 2], labels: [-100, -100] }, { tokenizer: null })
  expect(documents).toEqual([{ ids: Int32Array.of(1, 2), mask: Uint8Array.of(0, 0) }])
})

test.each([
  [{ chosen: 'a', rejected: 'b' }, {}, /^the row: /],
  [null, {}, /^the row: expected an object of columns/],
  [
    { input_ids: [1, 400] },
    { vocabularySize: 384 },
    /^the row: id 400 at position 1 is not below the model's vocabulary size 384\.$/,
  ],
  [{ text: 'a' }, { tokenizer: null }, /^the row: the model has no tokenizer/],
  [{ text: 'a' }, { maxLength: 1 }, /^Expected an integer of at least 2 for maxLength but received 1\.$/],
] as const)('%j with %j is refused by name', async (row, options, message) => {
  await expect(tokeniseRow(row as never, { tokenizer, ...options })).rejects.toThrow(message)
})
