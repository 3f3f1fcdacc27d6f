/** Chat templates, as models bring them, on conversations. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadDataset } from '../../../lib/batches/dataset.js'
import { loadTokenizer } from '../../../lib/text/tokenizer.js'
import { templatePath } from '../../text/tokenizer/small-tokenizer.js'
import type { Target } from '../cases.js'
import { mutateText } from '../mutate-text.js'
import { changed, textOf } from './tiny-model.js'
import { byteLevel, configOf } from './tokenizers.js'

const messages = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Hi' },
  { role: 'assistant', content: '<think>\nWhat?\n</think>\n\nHello' },
  { role: 'user', content: 'And now?' },
  { role: 'assistant', content: 'Bye' },
]

export async function templateTarget(): Promise<Target> {
  const name = 'model/chat_template.jinja'
  const samples = ['begin-trimmed', 'chatml', 'plain', 'thinking'].map(
    (template) =>
      new Map([
        ['model/tokenizer.json', JSON.stringify(byteLevel())],
        ['model/tokenizer_config.json', JSON.stringify(configOf(byteLevel()))],
        ['rows.jsonl', `${JSON.stringify({ messages })}\n`],
        [name, readFileSync(templatePath(template), 'utf8')],
      ]),
  )
  return {
    name: 'template',
    samples,
    // A template that does not render a chat is reported with the rows that it does not fit.
    alsoNamed: ['rows.jsonl'],
    mutate: (random, files) => changed(name, mutateText(random, textOf(files, name))),
    async use(folder) {
      const tokenizer = await loadTokenizer(join(folder, 'model'))
      await loadDataset(join(folder, 'rows.jsonl'), { tokenizer, cacheDir: null })
    },
  }
}
