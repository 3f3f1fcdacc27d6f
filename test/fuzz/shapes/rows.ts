/** Rows as they are trained. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadDataset } from '../../../lib/batches/dataset.js'
import { loadSmallTokenizer, loadTemplate } from '../../text/tokenizer/small-tokenizer.js'
import { json, numbered, repeated, shapes } from './shape.js'

export const conversation = (count: number, content: (i: number) => string) =>
  Array.from({ length: count }, (_, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content: content(i) }))

/** Rows as they are trained, by the test's tokenizer and a template. */
export const ofRows = shapes(
  'rows',
  'a.jsonl',
  async (folder) => {
    const tokenizer = await loadSmallTokenizer()
    const template = await loadTemplate('chatml', tokenizer)
    writeFileSync(join(folder, 't.jinja'), template.source!)
    await loadDataset(join(folder, 'a.jsonl'), {
      tokenizer,
      template: join(folder, 't.jinja'),
      maxLength: 2 ** 24,
      cacheDir: null,
    })
  },
  {
    words: (bytes) => json({ text: repeated('word ', bytes) }),
    'one word': (bytes) => json({ text: repeated('a', bytes) }),
    'one word of all letters': (bytes) => json({ text: repeated('theandofto', bytes) }),
    spaces: (bytes) => json({ text: `${repeated(' ', bytes)}a` }),
    marks: (bytes) => json({ text: repeated('\u0301', bytes) }),
    'empty lines': (bytes) => json({ text: repeated('\n \n', bytes / 2) }),
    'special tokens': (bytes) => json({ text: repeated('<|end|>', bytes) }),
    'a long answer': (bytes) => json({ prompt: 'a', completion: repeated('word ', bytes) }),
    'a long conversation': (bytes) => json({ messages: conversation(32, () => repeated('word ', bytes / 32)) }),
    rows: (bytes) => repeated(`${json({ messages: conversation(2, () => 'x') })}\n`, bytes),
    keys: (bytes) => `{"text":"a",${numbered(bytes, (i) => `"k${i}":1`, ',')}}`,
    tools: (bytes) => json({ messages: conversation(2, () => 'x'), tools: [{ a: repeated('a\\"', bytes) }] }),
    ids: (bytes) => `{"input_ids":[${repeated('1,', bytes)}1]}`,
    labels: (bytes) => `{"input_ids":[${repeated('1,', bytes / 2)}1],"labels":[${repeated('1,', bytes / 2)}1]}`,
    'a long role': (bytes) => json({ messages: [{ role: repeated('a', bytes), content: '' }] }),
  },
)
