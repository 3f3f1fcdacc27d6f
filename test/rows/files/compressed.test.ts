import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as zlib from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadDataset } from '../../../lib/batches/dataset.js'
import { findDataFiles } from '../../../lib/rows/files/data-files.js'
import { readRecords, recordsOf } from '../../../lib/rows/files/readers.js'
import { lack, needing } from '../../needs.js'
import { parquetBytes } from './parquet-files.js'
import { collect } from './records.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mora-compressed-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function values(path: string): Promise<unknown[]> {
  const all: unknown[] = []
  for await (const { value } of readRecords(await findDataFiles(path))) all.push(value)
  return all
}

async function written(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, content)
  return path
}

const { zstdCompressSync } = zlib as { zstdCompressSync?: (bytes: Uint8Array) => Buffer }
const rows = Array.from({ length: 300 }, (_, i) => ({ text: `row ${i} ${'x'.repeat(i % 50)}` }))
const lines = Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join(''))

describe('compressed files', () => {
  it('have the rows of their content, in every format', async () => {
    const csv = `text\n${rows.map(({ text }) => `"${text}"\n`).join('')}`
    for (const [extension, compress] of [
      ['.gz', zlib.gzipSync],
      ['.br', zlib.brotliCompressSync],
    ] as const) {
      expect(await values(await written(`a.jsonl${extension}`, compress(lines)))).toEqual(rows)
      expect(await values(await written(`a.json${extension}`, compress(JSON.stringify(rows))))).toEqual(rows)
      expect(await values(await written(`a.csv${extension}`, compress(csv)))).toEqual(rows)
      expect(await values(await written(`a.txt${extension}`, compress('one\ntwo')))).toEqual([{ text: 'one\ntwo' }])
      const parquet = parquetBytes({ text: rows.map(({ text }) => text) })
      expect(await values(await written(`a.parquet${extension}`, compress(parquet)))).toEqual(rows)
    }
  })

  it('may be several gzip members, one after the other', async () => {
    const halves = [lines.subarray(0, 999), lines.subarray(999)].map((part) => zlib.gzipSync(part))
    expect(await values(await written('members.jsonl.gz', Buffer.concat(halves)))).toEqual(rows)
  })

  it('are recognised by their first bytes on standard input and under other names', async () => {
    const chunks = async function* () {
      for (const byte of zlib.gzipSync('{"text":"a"}\n{"text":"b"}\n')) yield Uint8Array.of(byte)
    }
    const records = await collect(recordsOf({ path: '-', format: 'unknown', bytes: 0 }, chunks()))
    expect(records.map(({ where }) => where)).toEqual(['standard input:1', 'standard input:2'])
    expect(await values(await written('misnamed.jsonl', zlib.gzipSync(lines)))).toEqual(rows)
    expect(await values(await written('bare.gz', zlib.gzipSync(lines)))).toEqual(rows)
  })

  it('are read from folders beside uncompressed ones', async () => {
    const nested = await mkdtemp(join(folder, 'nested-'))
    await writeFile(join(nested, 'b.csv'), 'text\n2\n')
    await writeFile(join(nested, 'a.jsonl.gz'), zlib.gzipSync('{"text":"1"}'))
    await writeFile(join(nested, 'c.parquet'), parquetBytes({ text: ['3'] }))
    await writeFile(join(nested, 'notes.md.gz'), zlib.gzipSync('not data'))
    expect(await values(nested)).toEqual([{ text: '1' }, { text: '2' }, { text: '3' }])
  })

  it('name the file if they are cut off, damaged or not compressed', async () => {
    for (const [extension, compress] of [
      ['gz', zlib.gzipSync],
      ['br', zlib.brotliCompressSync],
    ] as const) {
      const cut = await written(`cut.jsonl.${extension}`, compress(lines).subarray(0, -20))
      await expect(values(cut)).rejects.toThrow(/^cut\.jsonl\.(gz|br) is not whole (gzip|brotli) data: unexpected end/)
      const plain = await written(`plain.jsonl.${extension}`, lines)
      await expect(values(plain)).rejects.toThrow(/^plain\.jsonl\.(gz|br) is not whole (gzip|brotli) data/)
    }
    const damaged = zlib.gzipSync(lines)
    damaged[damaged.length - 6]! ^= 0xff
    await expect(values(await written('damaged.jsonl.gz', damaged))).rejects.toThrow(
      /^damaged\.jsonl\.gz is not whole gzip/,
    )
    const inner = await written('inner.jsonl.gz', zlib.gzipSync('{"text":"a"}\n{'))
    await expect(values(inner)).rejects.toThrow(/^inner\.jsonl\.gz:2 is not valid JSON/)
  })

  it('are refused during reading if they would fill the memory', async () => {
    const bomb = Buffer.concat([Buffer.from('{"text": "'), Buffer.alloc(2 ** 26, 'a'), Buffer.from('"}\n')])
    for (const [extension, compress] of [
      ['gz', zlib.gzipSync],
      ['br', zlib.brotliCompressSync],
    ] as const) {
      const path = await written(`bomb.jsonl.${extension}`, compress(bomb))
      await expect(values(path)).rejects.toThrow(/^bomb\.jsonl\.(gz|br) becomes more than 200 times as large/)
    }
    const repetitive = Buffer.from(`${JSON.stringify({ text: 'the same row again' })}\n`.repeat(20_000))
    expect(await values(await written('repetitive.jsonl.gz', zlib.gzipSync(repetitive)))).toHaveLength(20_000)
  })

  it('are refused early if they have too many rows', async () => {
    const bomb = zlib.gzipSync('{"text":"a"}\n'.repeat(2 ** 23))
    const read: unknown[] = []
    const reading = async () => {
      for await (const row of readRecords(await findDataFiles(await written('rows.jsonl.gz', bomb)))) read.push(row)
    }
    await expect(reading()).rejects.toThrow(/^rows\.jsonl\.gz becomes more than 200 times as large/)
    expect(read.length).toBeLessThan(2 ** 18)
  })

  needing(lack('a Node.js with Zstandard', zstdCompressSync)).it(
    'with Zstandard are read where Node.js can',
    async () => {
      expect(await values(await written('a.jsonl.zst', zstdCompressSync!(lines)))).toEqual(rows)
      const cut = await written('cut.jsonl.zst', zstdCompressSync!(lines).subarray(0, -20))
      await expect(values(cut)).rejects.toThrow(/^cut\.jsonl\.zst is not whole zstd data/)
    },
  )

  needing(lack('a Node.js without Zstandard', !zstdCompressSync)).it(
    'with Zstandard are refused before work starts where Node.js cannot',
    async () => {
      const path = await written('a.jsonl.zst', Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd))
      await expect(findDataFiles(path)).rejects.toThrow(
        /a\.jsonl\.zst is compressed with zstd, which Node\.js reads from 22\.15 on/,
      )
    },
  )

  it('make the same data set as plain ones, and each is found again in the cache', async () => {
    const ids = Array.from({ length: 40 }, (_, i) => [i, i + 1, i + 2])
    const jsonl = ids.map((input_ids) => `${JSON.stringify({ input_ids })}\n`).join('')
    const paths = [
      await written('ids.jsonl', jsonl),
      await written('ids.jsonl.gz', zlib.gzipSync(jsonl)),
      await written('ids.csv', `input_ids\n${ids.map((row) => `"[${row}]"\n`).join('')}`),
      await written('ids.parquet', parquetBytes({ input_ids: ids.map((row) => row.map(BigInt)) })),
    ]
    const cacheDir = join(folder, 'cache')
    for (let round = 0; round < 2; round++) {
      const sets = await Promise.all(paths.map((path) => loadDataset(path, { tokenizer: null, cacheDir })))
      expect(new Set(sets.map(({ hash }) => hash)).size).toBe(1)
      expect(sets[0]!.length).toBe(40)
    }
  })
})
