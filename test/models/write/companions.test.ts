import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { initModel, loadModel } from '../../../lib/models/index.js'
import { loadTokenizer } from '../../../lib/text/tokenizer.js'
import { CONFIG } from '../../cli/tiny-config.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { smallTokenizerFolder } from '../../text/tokenizer/small-tokenizer.js'

const at = useTemporaryFolder()

test('a saved model has the numbers of its configuration as written, and the chat templates of its tokenizer', async () => {
  cpSync(smallTokenizerFolder, join(at(), 'tokenizer'), { recursive: true })
  mkdirSync(join(at(), 'tokenizer', 'additional_chat_templates'))
  writeFileSync(join(at(), 'tokenizer', 'chat_template.jinja'), 'plain')
  writeFileSync(join(at(), 'tokenizer', 'additional_chat_templates', 'tool_use.jinja'), 'tools')
  const tokenizer = (await loadTokenizer(join(at(), 'tokenizer')))!
  const numbers = ['"limit": 50.0', '"initializer_range": 2E-2', '"other": 10000']
  const config = JSON.stringify({ ...CONFIG, vocab_size: 512, initializer_range: undefined })
  writeFileSync(join(at(), 'config.json'), config.replace('{', `{${numbers.join()},`))
  using model = await initModel(join(at(), 'config.json'), { tokenizer })
  await model.save(join(at(), 'saved'))
  const saved = readFileSync(join(at(), 'saved', 'config.json'), 'utf8')
  for (const number of numbers) expect(saved).toContain(`${number},`)
  const again = (await loadTokenizer(join(at(), 'saved')))!
  const templates = { default: 'plain', tool_use: 'tools' }
  expect(Object.fromEntries(again.chatTemplates)).toEqual(templates)
  writeFileSync(join(at(), 'saved', 'tekken.json'), '{}')
  using loaded = await loadModel(join(at(), 'saved'), { device: 'cpu' })
  await loaded.save(join(at(), 'copied'))
  expect(Object.fromEntries((await loadTokenizer(join(at(), 'copied')))!.chatTemplates)).toEqual(templates)
  expect(readFileSync(join(at(), 'copied', 'tekken.json'), 'utf8')).toBe('{}')
})
