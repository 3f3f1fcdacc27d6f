import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findDataFiles } from '../../../lib/rows/files/data-files.js'
import { readRecords, recordsOf } from '../../../lib/rows/files/readers.js'
import { collect, recordsOfFile, values } from './records.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mora-readers-'))
})
afterAll(() => rm(folder, { recursive: true }))

const read = (name: string, content: string | Uint8Array) => recordsOfFile(folder, name, content)

describe('readRecords', () => {
  it('reads JSON lines with a byte order mark, CRLF and blank lines, and counts lines', async () => {
    const records = await read('a.jsonl', '\ufeff{"text":"a"}\r\n\r\n  \n{"text":"b"}')
    expect(records).toEqual([
      { value: { text: 'a' }, where: 'a.jsonl:1', json: '{"text":"a"}' },
      { value: { text: 'b' }, where: 'a.jsonl:4', json: '{"text":"b"}' },
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

  it('says in its own words what is wrong with a line', async () => {
    await expect(read('w.jsonl', '{"text":')).rejects.toThrow(/: at column 9 expected a value but the text ends\.$/)
    await expect(read('x.jsonl', '{"text": \'a\'}')).rejects.toThrow(
      /: at column 10 expected a value but received "'"\.$/,
    )
  })

  it('says what to do with values of several lines, with numbers of Python, and with rows by name', async () => {
    await expect(read('p.jsonl', '{\n  "text": "a"\n}\n')).rejects.toThrow(
      /^p\.jsonl:1 is not valid JSON: at column 2 .* the text ends; if a value has several lines, name the file \.json, or write one row per line\.$/,
    )
    for (const number of ['NaN', '-Infinity', 'Infinity']) {
      const there = /there is a NaN or Infinity, which Python writes and JSON does not have: write null or a text\.$/
      await expect(read('n.jsonl', `{"text": "a", "score": ${number}}`)).rejects.toThrow(there)
      await expect(read('n.json', `[{"text": "a", "score": ${number}}]`)).rejects.toThrow(there)
    }
    const byName = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`row ${i}`, { text: 'a' }]))
    await expect(read('names.json', JSON.stringify(byName))).rejects.toThrow(
      'names.json: expected a list of rows but received one object of 20 keys ("row 0", "row 1", "row 2", …), each with an object: write these as a list.',
    )
  })

  it.each([
    ['lines', 'x.jsonl', '{"text":"', 'x.jsonl:1 has more than the 268435456 bytes'],
    ['json', 'x.json', '{"text":"', 'x.json has more than'],
    ['json', 'x.json', '', 'x.json has more than'],
    ['text', 'x.txt', 'a', 'x.txt has more than'],
    ['csv', 'x.csv', 'text\n', 'x.csv:2 has more than'],
    ['unknown', '-', '', 'standard input has more than'],
  ] as const)('refuses records too large for memory: %s, %s, %j', async (format, path, start, message) => {
    const spaces = Buffer.alloc(2 ** 22, ' ')
    let chunks = 0
    const endless = async function* () {
      yield Buffer.from(start)
      for (; chunks < 1000; chunks++) yield spaces
    }
    await expect(collect(recordsOf({ path, format, bytes: 0 }, endless()))).rejects.toMatchObject({
      code: 'too-large',
      message: expect.stringContaining(message),
    })
    expect(chunks).toBeLessThan(200)
  })

  it('reads a JSON array, a wrapped list, one object, and JSON lines under the name .json', async () => {
    expect(await read('d.json', '[{"text":"a"},\n {"text":"b"}]')).toEqual([
      { value: { text: 'a' }, where: 'd.json, row 1', json: '{"text":"a"}' },
      { value: { text: 'b' }, where: 'd.json, row 2', json: '\n {"text":"b"}' },
    ])
    expect(values(await read('e.json', '{"data": [{"text":"a"}]}'))).toEqual([{ text: 'a' }])
    expect(values(await read('f.json', '{\n "text": "a"\n}'))).toEqual([{ text: 'a' }])
    expect(values(await read('g.json', '{"text":"a"}\n{"text":"b"}\n'))).toEqual([{ text: 'a' }, { text: 'b' }])
    await expect(read('h.json', '[{"text":"a"},\n {"text" "b"}]')).rejects.toThrow(
      /^h\.json, row 2, is not valid JSON: at line 2 expected ':'/,
    )
  })

  it('reads the elements of a list one by one, however the bytes are cut', async () => {
    const rows = [{ text: 'a ] } , " \\ é' }, { text: '', more: [{}, [], [[1, 2]]] }, 'loose', 3, null, [4, [5]]]
    for (const text of [JSON.stringify(rows), ` \n${JSON.stringify(rows, null, 2)}\r\n`, '[]', ' [ \n ]\n']) {
      const chunks = async function* () {
        for (const byte of Buffer.from(text)) yield Uint8Array.of(byte)
      }
      const file = { path: 'x.json', format: 'json' as const, bytes: 0 }
      expect(values(await collect(recordsOf(file, chunks())))).toEqual(JSON.parse(text))
    }
  })

  it('refuses lists that are malformed between their elements or at their end', async () => {
    const cases = [
      ['[1,]', "at line 1 expected a value after ','"],
      ['[1,\n,2]', 'row 2, is not valid JSON: at line 2'],
      ['[1\n2]', 'row 1, is not valid JSON: at line 2'],
      ['[1,\n2', 'the file ends inside of its list'],
      ['["a', 'the file ends inside of its list'],
      ['[1]\nx', 'at line 2 there is text after the end of the list'],
      ['[1}', "expected ']' but received '}'"],
      ['[{]]', 'row 1, is not valid JSON'],
    ] as const
    for (const [text, problem] of cases) await expect(read('bad.json', text), text).rejects.toThrow(problem)
  })

  it('streams: rows come before the file ends, and leaving the loop closes the file', async () => {
    const contents = { lines: '{"text":"a"}\n', json: '{"text":"a"},', csv: 'a\n' }
    for (const [format, row] of Object.entries(contents)) {
      let isOpen = true
      const endless = async function* () {
        try {
          yield Buffer.from(format === 'csv' ? 'text\n' : format === 'json' ? '[' : '')
          for (;;) yield Buffer.from(row)
        } finally {
          isOpen = false
        }
      }
      const seen: unknown[] = []
      const file = { path: 'x', format: format as 'lines' | 'json' | 'csv', bytes: 0 }
      for await (const { value } of recordsOf(file, endless())) if (seen.push(value) === 3) break
      expect(seen, format).toEqual([{ text: 'a' }, { text: 'a' }, { text: 'a' }])
      expect(isOpen, format).toBe(false)
    }
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

  describe('a folder', () => {
    const found = async (files: Record<string, string>, extensions?: string[]) => {
      const place = await mkdtemp(join(folder, 'of-'))
      for (const [name, content] of Object.entries(files)) {
        await mkdir(dirname(join(place, name)), { recursive: true })
        await writeFile(join(place, name), content)
      }
      const said: string[] = []
      const data = await findDataFiles(place, { extensions, onWarning: (message) => said.push(message) })
      expect(said).toHaveLength(1)
      return {
        read: data.map(({ path, format }) => `${relative(place, path)}: ${format}`),
        said: said[0]!.replace(`${place}: `, ''),
      }
    }
    const mixed = {
      'a.jsonl': '{"text":"1"}',
      'b/c.md': '# c',
      'b/d.py': '[1]',
      'e.txt': 'e',
      LICENSE: 'x',
      '.f.md': 'f',
    }

    it('of data and texts gives its data, and says what is skipped', async () => {
      expect(await found(mixed)).toEqual({
        read: ['a.jsonl: lines', 'e.txt: text'],
        said: 'reads 2 files (.jsonl 1, .txt 1); skips 3 (no ending 1, .md 1, .py 1)',
      })
    })

    it('gives the texts that are named by their endings, or all that are known', async () => {
      expect(await found(mixed, ['.py', 'MD'])).toEqual({
        read: ['b/c.md: text', 'b/d.py: text'],
        said: 'reads 2 files (.md 1, .py 1); skips 3 (no ending 1, .jsonl 1, .txt 1)',
      })
      expect((await found(mixed, ['all'])).read).toEqual(['b/c.md: text', 'b/d.py: text', 'e.txt: text'])
      await expect(found(mixed, ['.rs'])).rejects.toThrow(/holds no file with the endings \.rs/)
    })

    it('of texts alone gives these, but none that is binary', async () => {
      const texts = { 'a.md': 'a', 'b.py': 'b\0c', 'c.rst': 'c', 'd.png': '\0' }
      expect(await found(texts)).toEqual({
        read: ['a.md: text', 'c.rst: text'],
        said: 'reads 2 files (.md 1, .rst 1); skips 2 (.py 1, .png 1)',
      })
      expect(await found({ 'a.md': 'a' })).toEqual({ read: ['a.md: text'], said: 'reads 1 file (.md 1)' })
    })
  })

  it('says which files are unsupported and which are missing', async () => {
    await writeFile(join(folder, 'j.arrow'), 'a,b\n')
    await expect(findDataFiles(join(folder, 'j.arrow'))).rejects.toThrow(
      /j\.arrow: \.arrow files are not read; convert/,
    )
    await expect(findDataFiles(folder)).rejects.toThrow(/j\.arrow: \.arrow files are not read/)
    await expect(findDataFiles(join(folder, 'absent.jsonl'))).rejects.toThrow(
      /absent\.jsonl does not exist; expected a file/,
    )
    const empty = join(folder, 'empty')
    await mkdir(empty)
    await expect(findDataFiles(empty)).rejects.toThrow(/holds no data file/)
  })
})
