import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadDataset } from '../../lib/batches/dataset.js'
import { sourcesOf } from '../../lib/rows/sources/source.js'
import type { Tokenizer } from '../../lib/text/tokenizer.js'
import { expectRejection } from '../io/temporary.js'
import { loadSmallTokenizer, templatePath } from '../text/tokenizer/small-tokenizer.js'

const rows = [
  { prompt: 'How many boats?', completion: 'six' },
  { text: 'The river runs past the old mill.' },
  { messages: [{ role: 'assistant', content: 'Good morning.' }] },
  { input_ids: [7, 8, 9], labels: [-100, -100, 9] },
]

let folder: string
let file: string
let tokenizer: Tokenizer
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mora-sources-'))
  file = join(folder, 'rows.jsonl')
  await writeFile(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  tokenizer = await loadSmallTokenizer()
})
afterAll(() => rm(folder, { recursive: true }))

const options = () => ({ tokenizer, template: templatePath('chatml') })

function* generated() {
  yield* rows
}

async function* arriving() {
  yield* rows
}

describe('sources of rows', () => {
  it('are paths, rows, and lists of these', () => {
    expect(sourcesOf('a.jsonl')).toEqual(['a.jsonl'])
    expect(sourcesOf(['a.jsonl', { path: 'b', weight: 2 }])).toEqual(['a.jsonl', { path: 'b', weight: 2 }])
    expect(sourcesOf(rows)).toEqual([{ rows }])
    expect(sourcesOf({ rows, weight: 0.5 })).toEqual([{ rows, weight: 0.5 }])
    const stream = arriving()
    expect(sourcesOf(stream)).toEqual([{ rows: stream }])
    expect(sourcesOf(['a.jsonl', rows, stream])).toEqual(['a.jsonl', { rows }, { rows: stream }])
    expect(sourcesOf({ data: 'a.jsonl', weight: 2, stop: true })).toEqual([{ path: 'a.jsonl', weight: 2, stop: true }])
    expect(sourcesOf([{ data: stream, weight: 2 }, { data: rows }])).toEqual([{ rows: stream, weight: 2 }, { rows }])
  })

  it.each([
    '',
    3,
    null,
    {},
    { prompt: 'x' },
    () => rows,
    ['a', { prompt: 'x' }],
    [3],
    { path: 'a', weight: 0 },
    { path: 'a', weight: Number.NaN },
    { path: 'a', rows },
    { path: 'a', wieght: 1 },
    { rows: 'text' },
    [
      { path: 'a', weight: 1 },
      { path: 'b', weight: -1 },
    ],
    [{ rows: 3, sha256: 'ab' }],
  ])('are nothing else: %j', (value) => {
    expect(sourcesOf(value)).toBeUndefined()
  })

  it('from memory give the same as a file of them', async () => {
    const expected = await loadDataset(file, options())
    for (const source of [rows, new Set(rows), generated(), arriving(), [arriving()], { rows: generated() }]) {
      const data = await loadDataset(source, options())
      expect(data.hash).toBe(expected.hash)
      expect(data.summary).toEqual(expected.summary)
    }
    const both = await loadDataset([file, generated()], options())
    expect(both.parts.map((part) => part.rows)).toEqual([4, 4])
  })

  it('are recorded by their number and the hash of their content', async () => {
    const [array, stream] = [await loadDataset(rows, options()), await loadDataset(arriving(), options())]
    expect(array.parts[0]!.source).toEqual({ rows: 4, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) })
    expect(stream.parts).toEqual(array.parts)
    const other = await loadDataset(rows.slice(1), options())
    expect(other.parts[0]!.source).not.toEqual(array.parts[0]!.source)
    expect((await loadDataset(file, options())).parts[0]!.source).toBe(file)
  })

  it('name a row by its number', async () => {
    const odd = [...rows.slice(0, 2), { question: 'x' }]
    await expectRejection(loadDataset(odd, options()), 'malformed-row', /^row 3 of the rows given: no form of rows has/)
    await expectRejection(
      loadDataset([file, odd.values()], options()),
      'malformed-row',
      /^row 3 of the rows given \(source 2\): no form of rows has/,
    )
    await expectRejection(
      loadDataset([{ input_ids: [1n] }], options()),
      'malformed-row',
      /^row 1 of the rows given: it cannot be written as JSON/,
    )
    await expectRejection(loadDataset([], options()), 'empty-data', /no row was found/)
    await expectRejection(loadDataset(generatedNothing(), options()), 'empty-data', /^the rows given: no row was found/)
  })

  it('are read one row at a time, and closed when a row is malformed', async () => {
    const tokenised: number[] = []
    const asked: number[][] = []
    let isClosed = false
    async function* watched() {
      try {
        for (let i = 0; ; i++) {
          asked.push([...tokenised])
          yield {
            get text() {
              tokenised.push(i)
              return i < 3 ? `line ${i}` : null
            },
          }
        }
      } finally {
        isClosed = true
      }
    }
    await expect(loadDataset(watched(), options())).rejects.toThrow(/^row 4 of the rows given: text/)
    expect(asked.map((before) => Math.max(-1, ...before))).toEqual([-1, 0, 1, 2])
    expect(isClosed).toBe(true)
  })

  it('let timers through while an array is read', async () => {
    const many = Array.from({ length: 600 }, (_, i) => ({ input_ids: [i, i + 1] }))
    let turns = 0
    const timer = setInterval(() => turns++, 0)
    setImmediate(() => turns++)
    await loadDataset(many, { tokenizer: null })
    clearInterval(timer)
    expect(turns).toBeGreaterThan(0)
  })

  it('are cached if they can be identified before they are read', async () => {
    const cacheDir = join(folder, 'cache')
    const kept = async () => (await readdir(join(cacheDir, 'datasets')).catch(() => [])).length
    const first = await loadDataset(rows, { ...options(), cacheDir })
    expect(await kept()).toBe(1)
    let reads = 0
    const again = await loadDataset([...rows], { ...options(), cacheDir, onProgress: () => reads++ })
    expect(reads).toBe(0)
    expect(again).toEqual(first)
    await loadDataset(rows.slice(1), { ...options(), cacheDir })
    expect(await kept()).toBe(2)
    await loadDataset(generated(), { ...options(), cacheDir })
    await loadDataset(arriving(), { ...options(), cacheDir })
    expect(await kept()).toBe(2)
  })
})

describe('weights', () => {
  it('belong to every source or to none, and go with rows', async () => {
    const mixed = [
      { path: file, weight: 1 },
      { rows: rows.slice(0, 1), weight: 3 },
    ]
    const data = await loadDataset(mixed, options())
    expect(data.parts).toMatchObject([
      { rows: 4, weight: 1, source: { path: file, weight: 1 } },
      { rows: 1, weight: 3, source: { rows: 1, weight: 3 } },
    ])
    const plain = await loadDataset([file, rows.slice(0, 1)], options())
    const others = await loadDataset([mixed[0]!, { ...mixed[1]!, weight: 2 }], options())
    expect(new Set([data.hash, plain.hash, others.hash]).size).toBe(3)
    await expectRejection(loadDataset([mixed[0]!, file], options()), 'unfit-options', /1 of the 2 sources.*no weight/)
    const empty = { rows: [{ input_ids: [1], labels: [1] }], weight: 1 }
    await expectRejection(loadDataset([mixed[0]!, empty], options()), 'empty-data', /source 2.*no share/)
  })
})

function* generatedNothing() {}
