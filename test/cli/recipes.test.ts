/** The recipes for published checkpoints train, with a tiny model in place of the one that each names. */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { parse } from 'yaml'
import { initModel } from '../../lib/models/index.js'
import { loadTokenizer } from '../../lib/text/tokenizer.js'
import { drawn } from '../drawn.js'
import { main } from '../faults/command.js'
import { lacksBuild, needing } from '../needs.js'
import { smallTokenizerFolder, templatePath } from '../text/tokenizer/small-tokenizer.js'

const recipes = join(import.meta.dirname, '../../examples/recipes')
const names = readdirSync(recipes)
const folder = mkdtempSync(join(tmpdir(), 'mora-recipes-'))
const at = (name: string) => join(folder, name)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Rows of whole blocks of four bits. */
const CONFIG = {
  model_type: 'llama',
  vocab_size: 512,
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  max_position_embeddings: 1024,
  eos_token_id: 1,
}

beforeAll(async () => {
  cpSync(smallTokenizerFolder, at('model'), { recursive: true })
  const settings = JSON.parse(readFileSync(at('model/tokenizer_config.json'), 'utf8')) as object
  const template = readFileSync(templatePath('chatml'), 'utf8')
  writeFileSync(at('model/tokenizer_config.json'), JSON.stringify({ ...settings, chat_template: template }))
  writeFileSync(at('model/config.json'), JSON.stringify(CONFIG))
  const tokenizer = await loadTokenizer(at('model'))
  using model = await initModel(at('model/config.json'), { device: 'cpu', dtype: 'float32', seed: 1, tokenizer })
  await model.save(at('model'), { overwrite: true })
  const rows = [1, 2, 3].map((i) => JSON.stringify({ prompt: `What follows ${i}?`, completion: `${i + 1}` }))
  for (const name of ['train.jsonl', 'valid.jsonl']) writeFileSync(at(name), rows.join('\n'))
})

needing(lacksBuild).it.each(drawn('recipes', names, 3))('%s', (name) => {
  const path = join(recipes, name)
  const { output } = parse(readFileSync(path, 'utf8')) as { output: string }
  const argv = ['train', '--config', path, '--model', at('model'), '--device', 'cpu', '--max-steps', '1', '--quiet']
  const { status, stderr } = spawnSync(process.execPath, [main, ...argv], { cwd: folder, encoding: 'utf8' })
  expect(stderr).toBe('')
  expect(status).toBe(0)
  expect(readdirSync(at(output))).toContain('adapter_config.json')
})

it('each is for a checkpoint whose memory is measured', () => {
  const measured = readFileSync(join(import.meta.dirname, '../../bench/families/checkpoints.mjs'), 'utf8')
  for (const name of names) {
    const { model } = parse(readFileSync(join(recipes, name), 'utf8')) as { model: string }
    expect(measured).toContain(`'${model}': {`)
  }
})
