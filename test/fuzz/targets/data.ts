/** Rows in every format, compressed or not, made into a data set. */
import { join } from 'node:path'
import * as zlib from 'node:zlib'
import { loadDataset } from '../../../lib/batches/dataset.js'
import { parquetBytes } from '../../rows/files/parquet-files.js'
import { loadSmallTokenizer, loadTemplate } from '../../text/tokenizer/small-tokenizer.js'
import type { Files, Target } from '../cases.js'
import { mutateBytes } from '../mutate-bytes.js'
import { mutatedJson } from '../mutate-json.js'
import { mutateText } from '../mutate-text.js'
import { choose, pick, type Random } from '../random.js'
import { bytesOf, changed } from './tiny-model.js'

const rows: Record<string, unknown>[] = [
  { text: 'Some text, with "quotes"\nand lines.' },
  { prompt: 'What?', completion: 'This.' },
  { instruction: 'Add', input: '1 + 1', output: '2' },
  {
    messages: [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: 'Hello' },
    ],
  },
  { input_ids: [5, 6, 7, 8], labels: [-100, -100, 7, 8] },
]
const lines = `${rows.map((row) => JSON.stringify(row)).join('\n')}\n`

const quoted = (cell: unknown) => `"${String(cell).replaceAll('"', '""')}"`
const csv = [
  'prompt,completion',
  ...Array.from({ length: 6 }, (_, i) => `what ${i}?,${quoted(`that, "${i}"\nyes`)}`),
].join('\n')
const tsv = 'text\tsource\none\ta\ntwo\tb\n'

const texts = Array.from({ length: 40 }, (_, i) => `row ${i} ${'x'.repeat(i)}`)
const conversations = texts.map((text) => [
  { role: 'user', content: text },
  { role: 'assistant', content: 'yes' },
])
const parquets = {
  'text.parquet': parquetBytes({ text: texts }),
  'plain.parquet': parquetBytes({ text: texts }, { codec: 'UNCOMPRESSED', pageSize: 200 }),
  'messages.parquet': parquetBytes({ messages: conversations }, { rowGroupSize: 10 }),
  'ids.parquet': parquetBytes({
    input_ids: texts.map((_, i) => [1n, 2n, BigInt(i)]),
    labels: texts.map((_, i) => [1, -100, i]),
  }),
}

const whole: Record<string, string | Uint8Array> = {
  'rows.jsonl': lines,
  'list.json': JSON.stringify(rows, null, 1),
  'wrapped.json': JSON.stringify({ data: rows }),
  'rows.csv': csv,
  'rows.tsv': tsv,
  'rows.txt': 'One text.\n\nAnother.',
  unnamed: lines,
  ...parquets,
}

const compressors: Record<string, (content: string | Uint8Array) => Uint8Array> = {
  '.gz': (content) => zlib.gzipSync(content),
  '.br': (content) => zlib.brotliCompressSync(content),
}

export async function dataTarget(): Promise<Target> {
  const tokenizer = await loadSmallTokenizer()
  const template = await loadTemplate('chatml', tokenizer)
  const named = Object.entries(whole)
  const compressed = named
    .slice(0, 8)
    .flatMap(([name, content]) =>
      Object.entries(compressors).map(([ending, compress]) => [`${name}${ending}`, compress(content)] as const),
    )
  return {
    name: 'data',
    samples: [...named, ...compressed].map(
      ([name, content]) =>
        new Map([
          [name, content],
          ['template.jinja', template.source!],
        ]),
    ),
    mutate: (random, sample) => {
      const [name] = sample.keys()
      return changed(name!, mutateData(random, sample, name!))
    },
    async use(folder, sample) {
      const [name] = sample.keys()
      const options = { tokenizer, template: join(folder, 'template.jinja'), maxLength: 64, cacheDir: null }
      await loadDataset(join(folder, name!), options)
    },
  }
}

function mutateData(random: Random, sample: Files, name: string): string | Uint8Array {
  const ending = /\.(gz|br)$/.exec(name)?.[0]
  const bytes = bytesOf(sample, name)
  if (ending === undefined) return mutateContent(random, bytes, name)
  const inner = name.slice(0, -ending.length)
  return choose<string | Uint8Array>(random, [
    [1, () => mutateBytes(random, bytes)],
    [1, () => compressors[ending]!(mutateContent(random, Buffer.from(whole[inner]!), inner))],
    [0.1, () => compressors[ending]!(Buffer.alloc(2 ** 24, 'a'))],
  ])
}

function mutateContent(random: Random, bytes: Uint8Array, name: string): string | Uint8Array {
  if (name.endsWith('.parquet')) return mutateBytes(random, bytes)
  const text = Buffer.from(bytes).toString()
  return choose<string | Uint8Array>(random, [
    [2, () => mutateText(random, text)],
    [1, () => mutateBytes(random, bytes)],
    [2, () => (/json|unnamed/.test(name) ? otherRow(random, text, name) : mutateText(random, text))],
  ])
}

function otherRow(random: Random, text: string, name: string): string {
  if (name.endsWith('.json')) return mutatedJson(random, JSON.parse(text))
  return text.replace(lines, `${lines}${mutatedJson(random, pick(random, rows))}\n`)
}
