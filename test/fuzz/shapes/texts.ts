/** JSON, YAML, and data that is read without a tokenizer. */
import { join } from 'node:path'
import { readJson } from '../../../lib/io/json.js'
import { resolveWithConfig } from '../../../lib/options/config-file.js'
import { TrainSchema } from '../../../lib/options/index.js'
import { readRecords } from '../../../lib/rows/files/readers.js'
import { json, numbered, repeated, shapes } from './shape.js'

export const ofJson = shapes('JSON', 'a.json', (folder) => readJson(join(folder, 'a.json'), { uniqueKeys: true }), {
  'open lists': (bytes) => repeated('[', bytes),
  'open objects': (bytes) => repeated('{"a":', bytes),
  lists: (bytes) => `[${numbered(bytes, () => '[]', ',')}]`,
  keys: (bytes) => `{${numbered(bytes, (i) => `"k${i}":1`, ',')}}`,
  'a key twice': (bytes) => `{${numbered(bytes, (i) => `"k${i}":1`, ',')},"k0":1}`,
  'a text': (bytes) => `"${repeated('a', bytes)}"`,
  escapes: (bytes) => `"${repeated('\\u0041\\n', bytes)}"`,
  'an open text': (bytes) => `"${repeated('\\"', bytes)}`,
  'lines, and a mistake': (bytes) => `[${repeated('1,\n', bytes)}]`,
  spaces: (bytes) => repeated(' ', bytes),
  digits: (bytes) => repeated('1', bytes),
})

export const YAML_MOST = 2 ** 17

export const ofYaml = shapes(
  'YAML',
  'a.yaml',
  async (folder) => resolveWithConfig(TrainSchema, { config: join(folder, 'a.yaml') }),
  {
    keys: (bytes) => numbered(bytes, (i) => `k${i}: 1\n`),
    'keys in braces': (bytes) => `{${numbered(bytes, (i) => `k${i}: 1`, ', ')}}`,
    'one key again': (bytes) => repeated('a: 1\n', bytes),
    'a long name': (bytes) => `${repeated('a', bytes)}: 1`,
    'open lists': (bytes) => repeated('[', bytes),
    'lists in lists': (bytes) => repeated('- ', bytes),
    indents: (bytes) => Array.from({ length: Math.sqrt(bytes) }, (_, i) => `${' '.repeat(i)}a:\n`).join(''),
    quotes: (bytes) => repeated('"', bytes),
    'a text of lines': (bytes) => `a: "${repeated('x\n ', bytes)}"`,
    'a block': (bytes) => `a: |\n${repeated(' x\n', bytes)}`,
    comments: (bytes) => repeated('# x\n', bytes),
    'anchors and aliases': (bytes) => numbered(bytes, (i) => `- &a${i} 1\n- *a${i}\n`),
    aliases: (bytes) => `- &a 1\n${repeated('- *a\n', bytes)}`,
    tags: (bytes) => repeated('- !!str x\n', bytes),
    'what is wrong in one line': (bytes) => `[${repeated('@,', bytes)}]`,
    'what is wrong in each line': (bytes) => repeated('- %x\n', bytes),
    documents: (bytes) => repeated('---\n', bytes),
    directives: (bytes) => repeated('%YAML 1.2\n', bytes),
    spaces: (bytes) => `a:${repeated(' ', bytes)}1`,
    'empty lines': (bytes) => `a:${repeated('\n', bytes)}1`,
  },
  YAML_MOST,
)

const records = (name: string) => async (folder: string) => {
  const format = { 'a.csv': 'csv', 'a.jsonl': 'lines', 'a.json': 'json', 'a.txt': 'text', a: 'unknown' } as const
  const path = join(folder, name)
  for await (const _ of readRecords([{ path, format: format[name as keyof typeof format], bytes: 0 }]));
}

export const ofCsv = shapes('CSV', 'a.csv', records('a.csv'), {
  columns: (bytes) => `${numbered(bytes / 2, (i) => `c${i}`, ',')}\n${numbered(bytes / 2, (i) => `c${i}`, ',')}`,
  'columns without names': (bytes) => repeated(',', bytes),
  'one column again': (bytes) => `text,${repeated('a,', bytes)}`,
  'too few fields': (bytes) => `${numbered(bytes, (i) => `c${i}`, ',')}\n1`,
  rows: (bytes) => `text,b\n${repeated('a,b\n', bytes)}`,
  quotes: (bytes) => `text\n"${repeated('""', bytes)}"`,
  'quoted columns': (bytes) => `${numbered(bytes, (i) => `"${i}"`, ',')}\n`,
  'an open quote': (bytes) => `text\n"${repeated('x\n', bytes)}`,
  'open quotes in a header': (bytes) => repeated('"a', bytes),
  'lists in cells': (bytes) => `input_ids\n"[${repeated('1,', bytes)}1]"`,
  spaces: (bytes) => repeated(' ', bytes),
  returns: (bytes) => `text\n${repeated('\r', bytes)}`,
})

export const ofLines = shapes('JSON lines', 'a.jsonl', records('a.jsonl'), {
  lines: (bytes) => repeated('{}\n', bytes),
  'empty lines': (bytes) => repeated('\n', bytes),
  'a line': (bytes) => json({ text: repeated('a', bytes) }),
  'spaces in front': (bytes) => `${repeated(' ', bytes)}{}`,
  'returns at the end': (bytes) => `{}${repeated('\r', bytes)}`,
})

export const ofText = [
  ...shapes('text', 'a.txt', records('a.txt'), { spaces: (bytes) => repeated(' ', bytes) }),
  ...shapes('JSON data', 'a.json', records('a.json'), {
    elements: (bytes) => `[${repeated('{},', bytes)}{}]`,
    'lists in lists': (bytes) => `[${repeated('[', bytes)}`,
    'an open text': (bytes) => `["${repeated('a', bytes)}`,
    'spaces in front': (bytes) => `${repeated(' ', bytes)}[]`,
    'one line': (bytes) => `{"a":"${repeated('a', bytes)}"}`,
  }),
  ...shapes('data of no name', 'a', records('a'), {
    'a header': (bytes) => `text,${repeated('a ', bytes)}\n`,
    'open braces': (bytes) => repeated('{', bytes),
    quotes: (bytes) => `${repeated('"', bytes)}\n`,
  }),
]
