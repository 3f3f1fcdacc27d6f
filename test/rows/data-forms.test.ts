/** Files of the forms that tools and data sets write: how each is read, and the tokens that are trained. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { loadDataset } from '../../lib/batches/dataset.js'
import { loadSmallTokenizer, templatePath } from '../text/tokenizer/small-tokenizer.js'

const folder = fileURLToPath(new URL('../golden/data-forms/', import.meta.url))

interface Expected {
  form: string
  columns: string[]
  ignored: string[]
  /** Token ids, and 1 for each that is trained. */
  rows: { ids: number[]; mask: number[] }[]
}

const files = JSON.parse(readFileSync(`${folder}expected.json`, 'utf8')) as Record<string, Expected>

describe('files of known forms', () => {
  it.each(Object.entries(files))('%s', async (name, { form, columns, ignored, rows }) => {
    const dataset = await loadDataset(`${folder}${name}`, {
      tokenizer: await loadSmallTokenizer(),
      template: templatePath('chatml'),
      cacheDir: null,
    })
    expect(dataset.parts).toMatchObject([{ rows: rows.length, form, columns, ignored }])
    for (const [i, { ids, mask }] of rows.entries()) {
      const [row] = dataset.row(i).documents
      expect([...row!.ids], `ids of row ${i + 1}`).toEqual(ids)
      expect([...row!.mask], `mask of row ${i + 1}`).toEqual(mask)
    }
  })
})
