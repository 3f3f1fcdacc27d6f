import { createReadStream } from 'node:fs'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findDataFiles } from '../../../lib/rows/files/data-files.js'
import { readRecords, recordsOf } from '../../../lib/rows/files/readers.js'
import { RowReading } from '../../../lib/rows/reading.js'
import type { Row } from '../../../lib/rows/rows.js'
import { json } from '../../../lib/text/python/text.js'
import { toValue } from '../../../lib/text/python/values.js'
import { parquetBytes } from './parquet-files.js'
import { collect, recordsOfFile, values } from './records.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mora-parquet-'))
})
afterAll(() => rm(folder, { recursive: true }))

const read = (name: string, content: Uint8Array) => recordsOfFile(folder, name, content)
const long = (i: number) => `${i} ${'lorem ipsum '.repeat(i % 7)}é`

describe('Parquet', () => {
  it('reads rows of several groups and pages in order, each with its place', async () => {
    const text = Array.from({ length: 2311 }, (_, i) => long(i))
    const records = await read('groups.parquet', parquetBytes({ text }, { rowGroupSize: [100, 1000], pageSize: 512 }))
    expect(values(records)).toEqual(text.map((value) => ({ text: value })))
    expect(records[0]!.where).toBe('groups.parquet, row 1')
    expect(records[1234]!.where).toBe('groups.parquet, row 1235')
  })

  it('reads nested columns as JSON would hold them, where null is the same as absent', async () => {
    const columns = {
      text: [null, 'plain', null, null],
      messages: [
        [
          { role: 'user', content: 'hi', name: 'Ada' },
          { role: 'assistant', content: '', name: null },
        ],
        null,
        [],
        null,
      ],
      input_ids: [null, null, null, [1n, 2n, 3n]],
      labels: [null, null, null, [-100, 2, 3]],
    }
    const records = await read('nested.parquet', parquetBytes(columns))
    expect(values(records)).toEqual([
      {
        messages: [
          { role: 'user', content: 'hi', name: 'Ada' },
          { role: 'assistant', content: '' },
        ],
      },
      { text: 'plain' },
      { messages: [] },
      { input_ids: [1, 2, 3], labels: [-100, 2, 3] },
    ])
    expect(new RowReading().training(records[3]!)).toEqual({ kind: 'tokenised', ids: [1, 2, 3], labels: [-100, 2, 3] })
  })

  it('keeps whole numbers exact, times as ISO 8601, unmarked text as text and pictures as bytes', async () => {
    const png = Uint8Array.of(0x89, 0x50, 0xff)
    const columns = {
      answer: [3n, 2n ** 60n + 1n],
      when: [new Date(0), null],
      picture: [Buffer.from('é'), png],
      choices: [['a', null], null],
    }
    expect(values(await read('types.parquet', parquetBytes(columns)))).toEqual([
      { answer: 3, when: '1970-01-01T00:00:00.000Z', picture: 'é', choices: ['a', null] },
      { answer: '1152921504606846977', picture: png },
    ])
  })

  it('keeps floats floats, and the nulls and numbers of columns of JSON', async () => {
    const tool = { name: 'f', default: null, most: 1e21 }
    const columns = {
      prompt: ['a', 'b'],
      completion: ['c', 'd'],
      limits: [
        { least: 2, most: 1e16, count: 2n ** 60n, steps: [1, null, 0.5] },
        { least: null, most: -0, count: 2n, steps: null },
      ],
      half: [3, 0.5],
      tools: [[tool], null],
      chat_template_kwargs: [{ deep: null, n: 1 }, null],
    }
    const [first, second] = await read('floats.parquet', parquetBytes(columns))
    expect(first!.value).toMatchObject({
      limits: { least: 2, most: 1e16, count: '1152921504606846976', steps: [1, null, 0.5] },
      tools: [tool],
      chat_template_kwargs: { deep: null, n: 1 },
    })
    expect(second!.value).toEqual({ prompt: 'b', completion: 'd', limits: { most: -0, count: 2 }, half: 0.5 })
    const row = new RowReading().training(first!) as Extract<Row, { kind: 'messages' }>
    expect(json(toValue({ tools: row.tools, options: row.templateOptions }))).toBe(
      '{"tools": [{"name": "f", "default": null, "most": 1e+21}], "options": {"deep": null, "n": 1}}',
    )
    const reading = new RowReading({ text: '{prompt} {limits.most} {limits.count} {half}' })
    const texts = [first!, second!].map((record) => reading.training(record) as Extract<Row, { kind: 'text' }>)
    expect(texts.map(({ text }) => text)).toEqual(['a 1e+16 1152921504606846976 3.0', 'b -0.0 2 0.5'])
  })

  it('reads texts as JSON where the metadata of Hugging Face’s datasets says so', async () => {
    const tool = { name: 'f', default: null, most: 2.5 }
    const columns = {
      prompt: ['{"a":1}'],
      completion: ['{"b":null}'],
      functions: [[JSON.stringify(tool), null]],
      options: [{ template: '{"deep":null,"n":1.0}', note: '[1]' }],
    }
    const value = (_type: string) => ({ dtype: 'string', _type })
    const features = {
      prompt: value('Value'),
      completion: { decode: true, _type: 'Json' },
      functions: { feature: value('Json'), _type: 'List' },
      options: { template: value('Json'), note: value('Value') },
    }
    const noted = (written: unknown) =>
      parquetBytes(columns, { kvMetadata: [{ key: 'huggingface', value: JSON.stringify(written) }] })
    const [row] = await read('features.parquet', noted({ info: { features } }))
    const plain = { prompt: '{"a":1}', completion: { b: null }, functions: [tool, null] }
    expect(row!.value).toEqual({ ...plain, options: { template: { deep: null, n: 1 }, note: '[1]' } })
    const listed = { ...features, functions: [value('Json')] }
    expect((await read('features.parquet', noted({ info: { features: listed } })))[0]).toEqual(row)
    for (const other of [{ info: { features: [3] } }, { info: { features: { prompt: null } } }, 'x'])
      expect((await read('other.parquet', noted(other)))[0]!.value).toMatchObject({ completion: '{"b":null}' })
  })

  it('names the rows of a column of JSON that is not JSON', async () => {
    const bytes = Buffer.from(
      parquetBytes({ prompt: ['a'], chat_template_kwargs: [{ aaa: 1 }] }, { codec: 'UNCOMPRESSED' }),
    )
    bytes.write('?', bytes.indexOf('"aaa":') + 5)
    await expect(read('json.parquet', bytes)).rejects.toThrow(
      /^json\.parquet, rows 1 to 1 is not valid JSON: at line 1/,
    )
  })

  it('reads every codec that the writer has a compressor for', async () => {
    const text = Array.from({ length: 50 }, (_, i) => long(i))
    const compressors = {
      GZIP: (bytes: Uint8Array) => gzipSync(bytes),
      BROTLI: (bytes: Uint8Array) => brotliCompressSync(bytes),
    }
    for (const codec of ['UNCOMPRESSED', 'SNAPPY', 'GZIP', 'BROTLI'] as const) {
      const records = await read(`${codec}.parquet`, parquetBytes({ text }, { codec, compressors }))
      expect(values(records)).toEqual(text.map((value) => ({ text: value })))
    }
  })

  it('reads from a stream and where the name says nothing, and leaves no temporary file', async () => {
    const bytes = parquetBytes({ text: ['a', 'b'] })
    await writeFile(join(folder, 'blob'), bytes)
    const before = (await readdir(tmpdir())).filter((name) => /^mora-[0-9a-f]{8}-/.test(name))
    const stream = createReadStream(join(folder, 'blob'), { highWaterMark: 7 })
    const fromStream = await collect(recordsOf({ path: '-', format: 'unknown', bytes: 0 }, stream))
    expect(fromStream.map(({ where }) => where)).toEqual(['standard input, row 1', 'standard input, row 2'])
    expect(values(await read('whole.parquet.gz', gzipSync(bytes)))).toEqual(values(fromStream))
    expect(values(await collect(readRecords(await findDataFiles(join(folder, 'blob')))))).toEqual(values(fromStream))
    const after = (await readdir(tmpdir())).filter((name) => /^mora-[0-9a-f]{8}-/.test(name))
    expect(after).toEqual(before)
  })

  it('reports a damaged page in words, whatever byte of its header is wrong', async () => {
    const bytes = parquetBytes({ text: ['one', 'two', 'three'] }, { codec: 'UNCOMPRESSED' })
    for (let at = 4; at < 40; at++) {
      for (const value of [0x00, 0x11, 0x1c, 0x2c, 0xff]) {
        const damaged = Buffer.from(bytes)
        damaged[at] = value
        const message = await read('damaged.parquet', damaged).then(
          () => '',
          (error: Error) => error.message,
        )
        expect(message, `byte ${at}, ${value}`).not.toMatch(/undefined|\[object/)
        if (message) expect(message).toMatch(/^damaged\.parquet/)
      }
    }
  })

  it('names the file and rows of what is damaged', async () => {
    const bytes = parquetBytes({ text: Array.from({ length: 30 }, (_, i) => long(i)) }, { rowGroupSize: 10 })
    await expect(read('cut.parquet', bytes.subarray(0, -9))).rejects.toThrow(
      /^cut\.parquet: the Parquet file cannot be read: .*PAR1/,
    )
    await expect(read('empty.parquet', new Uint8Array())).rejects.toThrow(
      /^empty\.parquet: the Parquet file cannot be read/,
    )
    await expect(read('text.parquet', Buffer.from('{"text": "not Parquet"}'))).rejects.toThrow(
      /^text\.parquet: the Parquet file/,
    )
    const holed = Buffer.from(bytes)
    holed.fill(0xff, 8, 60)
    await expect(read('holed.parquet', holed)).rejects.toThrow(
      /^holed\.parquet, rows 1 to 10: the Parquet file cannot be read/,
    )
    const latin1 = Buffer.from(parquetBytes({ text: ['caf\u00e9'] }, { codec: 'UNCOMPRESSED' }))
    latin1[latin1.indexOf('caf') + 4] = 0x20
    await expect(read('latin1.parquet', latin1)).rejects.toThrow(/^latin1\.parquet, rows 1 to 1 is not valid UTF-8/)
  })

  it('survives any single changed byte: rows, or an error that names the file', async () => {
    const bytes = parquetBytes({ text: ['one', 'two', null, 'four'], answer: [1n, null, 3n, 4n] }, { rowGroupSize: 2 })
    for (let i = 0; i < bytes.length; i += 3) {
      const changed = Buffer.from(bytes)
      changed[i] = changed[i]! ^ 0xa5
      const outcome = await read('changed.parquet', changed).catch((error: Error) => error)
      if (outcome instanceof Error) expect(outcome.message, `byte ${i}`).toMatch(/^changed\.parquet/)
      else expect(outcome.length).toBeLessThanOrEqual(4)
    }
  })
})
