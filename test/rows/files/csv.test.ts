import { describe, expect, it } from 'vitest'
import { recordsOf } from '../../../lib/rows/files/readers.js'
import type { DataRecord } from '../../../lib/rows/record.js'
import { collect } from './records.js'

async function read(content: string | Buffer, name = 'a.csv', chunkBytes = 1): Promise<DataRecord[]> {
  const bytes = Buffer.from(content)
  const chunks = async function* () {
    for (let i = 0; i < bytes.length; i += chunkBytes) yield bytes.subarray(i, i + chunkBytes)
  }
  const format = name.endsWith('.csv') ? 'csv' : name.endsWith('.tsv') ? 'tsv' : 'unknown'
  return collect(recordsOf({ path: name, format, bytes: 0 }, chunks()))
}

const values = async (...given: Parameters<typeof read>) => (await read(...given)).map(({ value }) => value)

describe('comma-separated values', () => {
  it('reads quotes, delimiters, new lines and blank lines inside of fields, and says where a record begins', async () => {
    const content = '\ufeffprompt,completion\r\n"a ""b"", c","1\r\n\r\n2"\r\n\r\nd,\r\n,"é"'
    expect(await read(content)).toEqual([
      { value: { prompt: 'a "b", c', completion: '1\r\n\r\n2' }, where: 'a.csv:2' },
      { value: { prompt: 'd', completion: '' }, where: 'a.csv:6' },
      { value: { prompt: '', completion: 'é' }, where: 'a.csv:7' },
    ])
  })

  it('gives the same records however the bytes are cut', async () => {
    const content = 'text,note\n"a\n""b""\n",x\n"",""\nplain "quote" inside,\n'
    const expected = [
      { text: 'a\n"b"\n', note: 'x' },
      { text: '', note: '' },
      { text: 'plain "quote" inside', note: '' },
    ]
    for (const chunkBytes of [1, 2, 3, 5, 1000]) expect(await values(content, 'a.csv', chunkBytes)).toEqual(expected)
  })

  it('takes a semicolon or a tab where the header has no comma, and always a tab in .tsv', async () => {
    expect(await values('prompt;completion\n1,5;2\n')).toEqual([{ prompt: '1,5', completion: '2' }])
    expect(await values('"prompt, with"\tcompletion\na\tb\n')).toEqual([{ 'prompt, with': 'a', completion: 'b' }])
    expect(await values('prompt, completion\nx', 'a.tsv')).toEqual([{ 'prompt, completion': 'x' }])
    expect(await values('text\na;b\n')).toEqual([{ text: 'a;b' }])
  })

  it('distinguishes quotes in a text from those around it', async () => {
    const content =
      'text;note\r\n"""Hi"" he said";"\n"\r\n"He said ""Hi""";\r\n"""";""\r\n"""";"é ""x"""\r\nx"y;"\r"\r\n'
    const expected = [
      { text: '"Hi" he said', note: '\n' },
      { text: 'He said "Hi"', note: '' },
      { text: '"', note: '' },
      { text: '"', note: 'é "x"' },
      { text: 'x"y', note: '\r' },
    ]
    for (const chunkBytes of [1, 7, 1000]) expect(await values(content, 'a.csv', chunkBytes)).toEqual(expected)
    for (const line of ['"Hi" he said,x', 'x,"Hi" he said', '"a"b"c",x', '"é"" ""x",""y"']) {
      await expect(read(`text,note\n"""é""\n",""\n${line}\n`)).rejects.toThrow(
        /^a\.csv:4: there is text after the quote/,
      )
    }
  })

  it('leaves lines of spaces out, wherever they are, but not what is quoted', async () => {
    expect(await values('\n \nprompt;completion\n1;2\n\t\n3;4')).toEqual([
      { prompt: '1', completion: '2' },
      { prompt: '3', completion: '4' },
    ])
    expect(await read('text\n  \n""\n" "\n', 'a.csv')).toEqual([
      { value: { text: '' }, where: 'a.csv:3' },
      { value: { text: ' ' }, where: 'a.csv:4' },
    ])
    expect(await read('a\tb\n\t\n\t1\n', 'a.tsv')).toEqual([{ value: { a: '', b: '1' }, where: 'a.tsv:3' }])
  })

  it('reads lists from JSON, leaves empty ones and columns without a name out', async () => {
    const content = ',messages,input_ids,text\n0,"[{""role"":""user"",""content"":""x""}]",,\n1,,"[1,2]",\n2,,,words\n'
    expect(await values(content)).toEqual([
      { messages: [{ role: 'user', content: 'x' }], text: '' },
      { input_ids: [1, 2], text: '' },
      { text: 'words' },
    ])
    await expect(read("messages\n\"[{'role': 'user'}]\"\n")).rejects.toThrow(
      /^a\.csv:2: the column messages holds lists written as JSON/,
    )
  })

  it('names file and line of what is malformed', async () => {
    await expect(read('a,b\n1,2\n\n1,2,3\n')).rejects.toThrow(
      /^a\.csv:4: expected 2 fields, as in the header \(a, b\), but received 3/,
    )
    await expect(read('a,b\n"x\n"y,2\n')).rejects.toThrow(/^a\.csv:3: there is text after the quote that ends a field/)
    await expect(read('a,b\n1,2\n1,"x\n\n\n')).rejects.toThrow(
      /^a\.csv:3: a quoted field of this record is not closed by the end/,
    )
    await expect(read('a,b, a\n')).rejects.toThrow(/^a\.csv:1: the header names the column "a" twice/)
    await expect(read(Buffer.from('a\nx\n\xe9\n', 'latin1'))).rejects.toThrow(/^a\.csv:3 is not valid UTF-8/)
  })

  it('takes any number of columns, and names one that is there twice', async () => {
    const names = Array.from({ length: 100_000 }, (_, i) => `c${i}`)
    const lines = `${names.join(',')}\n${names.join(',')}\n`
    const [record] = (await values(lines, 'a.csv', 2 ** 16)) as Record<string, string>[]
    expect(Object.keys(record!)).toHaveLength(names.length)
    await expect(read([...names, 'c7'].join(','), 'a.csv', 2 ** 16)).rejects.toThrow(/names the column "c7" twice/)
    await expect(read(`${names.join(',')}\n1`, 'a.csv', 2 ** 16)).rejects.toThrow(
      /^a\.csv:2: expected 100000 fields, as in the header \(c0, c1, .*….*, c99999\), but received 1/,
    )
  })

  it('has no records without lines after the header, or without a header', async () => {
    expect(await read('a,b\n')).toEqual([])
    expect(await read('')).toEqual([])
    expect(await read('\n\n')).toEqual([])
  })

  it('is recognised by a header with names of row keys where the name says nothing', async () => {
    expect(await values('prompt,completion\na,b\n', '-')).toEqual([{ prompt: 'a', completion: 'b' }])
    expect(await values('"text"\n"a,b"\n', '-')).toEqual([{ text: 'a,b' }])
    expect(await values('Dear text, hello.\nBye.\n', '-')).toEqual([{ text: 'Dear text, hello.\nBye.\n' }])
    expect(await values('prompt\nnot a header alone\n', '-')).toEqual([{ text: 'prompt\nnot a header alone\n' }])
  })
})
