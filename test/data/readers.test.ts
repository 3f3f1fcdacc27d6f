import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type DataRecord, findDataFiles, readRecords, recordsOf } from '../../lib/data/readers.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mora-readers-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function collect(records: AsyncIterable<DataRecord>): Promise<DataRecord[]> {
  const all: DataRecord[] = []
  for await (const record of records) all.push(record)
  return all
}

async function read(name: string, content: string | Uint8Array): Promise<DataRecord[]> {
  await writeFile(join(folder, name), content)
  return collect(readRecords(await findDataFiles(join(folder, name))))
}

const values = (records: DataRecord[]) => records.map(({ value }) => value)

describe('readRecords', () => {
  it('reads JSON lines with a byte order mark, CRLF and blank lines, and counts lines', async () => {
    const records = await read('a.jsonl', '\ufeff{"text":"a"}\r\n\r\n  \n{"text":"b"}')
    expect(records).toEqual([
      { value: { text: 'a' }, where: 'a.jsonl:1' },
      { value: { text: 'b' }, where: 'a.jsonl:4' },
    ])
  })

  it('joins lines that come in several chunks, inside a character too', async () => {
    const bytes = Buffer.from('{"text":"é"}\n{"text":"b"}\n')
    const chunks = async function* () {
      for (const byte of bytes) yield Uint8Array.of(byte)
    }
    const file = { path: 'x.jsonl', format: 'lines' as const, bytes: 0 }
    expect(values(await collect(recordsOf(file, chunks())))).toEqual([{ text: 'é' }, { text: 'b' }])
    const unknown = { path: '-', format: 'unknown' as const, bytes: 0 }
    expect(values(await collect(recordsOf(unknown, chunks())))).toEqual([{ text: 'é' }, { text: 'b' }])
  })

  it('names file and line of malformed JSON and of bytes that are not UTF-8', async () => {
    await expect(read('b.jsonl', '{"text":"a"}\n{"text":\n')).rejects.toThrow(/^b\.jsonl:2 is not valid JSON/)
    const latin1 = Buffer.from('{"text":"a"}\n{"text":"\xe9"}\n', 'latin1')
    await expect(read('c.jsonl', latin1)).rejects.toThrow(/^c\.jsonl:2 is not valid UTF-8/)
  })

  it('reads a JSON array, a wrapped list, one object, and JSON lines under the name .json', async () => {
    expect(await read('d.json', '[{"text":"a"},\n {"text":"b"}]')).toEqual([
      { value: { text: 'a' }, where: 'd.json, row 1' },
      { value: { text: 'b' }, where: 'd.json, row 2' },
    ])
    expect(values(await read('e.json', '{"data": [{"text":"a"}]}'))).toEqual([{ text: 'a' }])
    expect(values(await read('f.json', '{\n "text": "a"\n}'))).toEqual([{ text: 'a' }])
    expect(values(await read('g.json', '{"text":"a"}\n{"text":"b"}\n'))).toEqual([{ text: 'a' }, { text: 'b' }])
    await expect(read('h.json', '[{"text":"a"},\n {"text" "b"}]')).rejects.toThrow(
      /h\.json is not valid JSON: at line 2/,
    )
  })

  it('reads a text file as one text', async () => {
    expect(values(await read('i.txt', '\ufeffone\n\ntwo\n'))).toEqual([{ text: 'one\n\ntwo\n' }])
  })

  it('reads a folder in the order of its paths, and several sources in theirs', async () => {
    const nested = join(folder, 'nested')
    await mkdir(join(nested, 'b'), { recursive: true })
    await writeFile(join(nested, 'c.jsonl'), '{"text":"3"}\n')
    await writeFile(join(nested, 'a.txt'), '1')
    await writeFile(join(nested, 'b', 'x.json'), '[{"text":"2"}]')
    await writeFile(join(nested, 'notes.md'), 'not data')
    await writeFile(join(nested, '.hidden.jsonl'), 'not data')
    expect(values(await collect(readRecords(await findDataFiles(nested))))).toEqual([
      { text: '1' },
      { text: '2' },
      { text: '3' },
    ])
    const several = await findDataFiles([join(nested, 'c.jsonl'), join(nested, 'a.txt')])
    expect(values(await collect(readRecords(several)))).toEqual([{ text: '3' }, { text: '1' }])
  })

  it('says what comes later and what is missing', async () => {
    await writeFile(join(folder, 'j.csv'), 'a,b\n')
    await expect(findDataFiles(join(folder, 'j.csv'))).rejects.toThrow(/\.csv files come later/)
    await expect(findDataFiles('someone/some-data')).rejects.toThrow(/does not exist; data sets of the hub come later/)
    await expect(findDataFiles(join(folder, 'absent.jsonl'))).rejects.toThrow(/absent\.jsonl does not exist\.$/)
    const empty = join(folder, 'empty')
    await mkdir(empty)
    await expect(findDataFiles(empty)).rejects.toThrow(/holds no data file/)
  })
})
