import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadTokenizer } from '../../../lib/data/tokenizer/tokenizer.js'
import { initModel } from '../../../lib/models/index.js'
import { CONFIG } from '../../cli/tiny-config.js'
import { smallTokenizerFolder } from '../../data/tokenizer/small-tokenizer.js'
import { useTemporaryFolder } from '../../io/temporary.js'

const at = useTemporaryFolder()

test('a saved model has the chat templates of its tokenizer, in a separate folder', async () => {
  cpSync(smallTokenizerFolder, join(at(), 'tokenizer'), { recursive: true })
  mkdirSync(join(at(), 'tokenizer', 'additional_chat_templates'))
  writeFileSync(join(at(), 'tokenizer', 'chat_template.jinja'), 'plain')
  writeFileSync(join(at(), 'tokenizer', 'additional_chat_templates', 'tool_use.jinja'), 'tools')
  const tokenizer = (await loadTokenizer(join(at(), 'tokenizer')))!
  writeFileSync(join(at(), 'config.json'), JSON.stringify({ ...CONFIG, vocab_size: 512 }))
  using model = await initModel(join(at(), 'config.json'), { tokenizer })
  await model.save(join(at(), 'saved'))
  const again = (await loadTokenizer(join(at(), 'saved')))!
  expect(Object.fromEntries(again.chatTemplates)).toEqual({ default: 'plain', tool_use: 'tools' })
})
