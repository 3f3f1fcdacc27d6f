import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { readRows } from '../../lib/rows/read-rows.js'
import { useTemporaryFolder } from '../io/temporary.js'

const folder = useTemporaryFolder()

async function all(source: string | string[]): Promise<unknown[]> {
  const rows: unknown[] = []
  for await (const row of readRows(source)) rows.push(row)
  return rows
}

it('yields rows with any columns, file after file', async () => {
  const [lines, csv, text] = ['a.jsonl', 'b.csv', 'c.txt'].map((name) => join(folder(), name))
  writeFileSync(lines!, '{"query":"1 + 1?","response":{"sum":2}}\n{"query":"2"}\n')
  writeFileSync(csv!, 'question,answer\nwhy,so\n')
  writeFileSync(text!, 'Once.')
  expect(await all([lines!, csv!, text!])).toEqual([
    { query: '1 + 1?', response: { sum: 2 } },
    { query: '2' },
    { question: 'why', answer: 'so' },
    { text: 'Once.' },
  ])
})

it('names a row that is not an object', async () => {
  const path = join(folder(), 'a.jsonl')
  writeFileSync(path, '{"a":1}\n[1]\n')
  await expect(all(path)).rejects.toThrow('a.jsonl:2: expected an object')
  await expect(all('')).rejects.toThrow('Expected a path or hub id')
})
