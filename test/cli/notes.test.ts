/** Commands print each note about other people's files once, on stderr, and none with `--quiet`. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { lora } from '../../lib/adapters/methods/lora.js'
import { initModel } from '../../lib/models/index.js'
import { loadTokenizer } from '../../lib/text/tokenizer.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { smallTokenizerFolder } from '../text/tokenizer/small-tokenizer.js'
import { mora } from './mora.js'
import { CONFIG } from './tiny-config.js'

const temporary = useTemporaryFolder()
const at = (name: string) => join(temporary(), name)

/**
 * A model in which another program wrote a key that transformers ignores, and an adapter that has keys for other programs too.
 */
async function writeFiles(): Promise<void> {
  writeFileSync(at('config.json'), JSON.stringify({ ...CONFIG, vocab_size: 512 }))
  using model = await initModel(at('config.json'), { tokenizer: await loadTokenizer(smallTokenizerFolder) })
  await model.addAdapter('a', lora({ rank: 2, targetModules: ['q_proj'] }))
  await model.saveAdapter('a', at('adapter'))
  await model.save(at('model'))
  edit('model/config.json', { max_sequence_length: 64 })
  edit('adapter/adapter_config.json', { target_modules: ['q_proj', 'W_pack'] })
  writeFileSync(at('rows.jsonl'), '{"text": "one two three"}\n')
}

function edit(name: string, entries: object): void {
  writeFileSync(at(name), JSON.stringify({ ...JSON.parse(readFileSync(at(name), 'utf8')), ...entries }))
}

const output = () => ['--output', at('written')]
const data = () => ['--data', at('rows.jsonl')]

test.each<[string, boolean, () => string[]]>([
  ['inspect', false, () => []],
  ['inspect', false, () => ['--method', 'lora']],
  ['generate', true, () => ['--prompt', 'one', '--max-new-tokens', '1', '--raw']],
  ['eval', true, () => ['--task', 'perplexity', ...data()]],
  ['train', true, () => [...data(), ...output(), '--max-steps', '1', '--allow-other-base']],
  ['merge', true, output],
  ['export', true, () => ['--format', 'gguf-lora', '--output', at('lora.gguf')]],
  ['analyze', true, () => []],
  ['imatrix', true, () => [...data(), '--output', at('imatrix.gguf')]],
])('%s (with the adapter: %s)', async (command, adapted, more) => {
  await writeFiles()
  const argv = [command, '--model', at('model'), ...(adapted ? ['--adapter', at('adapter')] : []), ...more()]
  const { exitCode, stderr } = await mora(...argv)
  expect(exitCode, stderr).toBe(0)
  const ofModel = `note: ${at('model/config.json')}: keys are ignored, as transformers ignores them for llama: max_sequence_length.`
  const ofAdapter = `note: The adapter ${at('adapter')} also targets W_pack, which the model lacks.`
  const notes = stderr.split('\n').filter((line) => /^note: .*(ignore|lacks)/.test(line))
  expect(notes).toEqual(adapted ? [ofModel, ofAdapter] : [ofModel])
  const again = command === 'train' || command === 'merge' || command === 'export' ? ['--overwrite'] : []
  expect((await mora(...argv, ...again, '--quiet')).stderr).not.toMatch(/note: /)
})
