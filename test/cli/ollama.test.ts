/** Commands on models that Ollama stores, and on split GGUF files. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { goldenPath } from '../golden/files.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { mora } from './mora.js'

const temporary = useTemporaryFolder()
const at = (name: string) => join(temporary(), name)

beforeEach(() => void vi.stubEnv('OLLAMA_MODELS', goldenPath('ollama/models')))
afterEach(() => void vi.unstubAllEnvs())

async function run(...argv: string[]) {
  const { exitCode, stdout, stderr } = await mora(...argv, '--json')
  expect(exitCode, stdout + stderr).toBe(0)
  return { json: JSON.parse(stdout), stderr }
}

const models = ['ollama:tiny:lora', goldenPath('gguf-split/split/tiny-F16-00001-of-00003.gguf')]

describe.each(models)('%s', (model) => {
  test('is inspected, trained, measured, merged, exported and generates', async () => {
    writeFileSync(at('rows.jsonl'), '{"text": "Si ke sonano rema felelo."}\n')
    const device = ['--device', 'cpu', '--threads', '2', '--dtype', 'float32']
    const rows = ['--data', at('rows.jsonl')]
    const adapter = ['--adapter', at('out')]
    const { json: facts } = await run('inspect', '--model', model)
    expect(facts).toMatchObject({ path: model, parameters: 39_712, tokenizer: { chatTemplate: true } })
    const train = ['train', '--model', model, ...rows, '--output', at('out'), '--method', 'lora', '--rank', '2']
    const { stderr } = await run(...train, '--max-steps', '2', '--learning-rate', '0.01', ...device)
    expect(stderr.split('is not used').length - 1).toBe(model.startsWith('ollama:') ? 1 : 0)
    expect(readFileSync(at('out/run.yaml'), 'utf8')).toContain(`model: ${model}\n`)
    const { json: trained } = await run(
      'eval',
      '--task',
      'perplexity',
      '--model',
      model,
      ...adapter,
      ...rows,
      ...device,
    )
    await run('merge', '--model', model, ...adapter, '--output', at('merged'), '--dtype', 'float32')
    const { json: merged } = await run('eval', '--task', 'perplexity', '--model', at('merged'), ...rows, ...device)
    expect(merged.loss).toBeCloseTo(trained.loss, 5)
    await run('export', '--model', model, ...adapter, '--format', 'gguf-lora', '--output', at('lora.gguf'))
    const prompt = ['--prompt', 'Si ke', '--raw', '--max-new-tokens', '4']
    expect((await run('generate', '--model', model, ...adapter, ...prompt, ...device)).json.text).not.toBe('')
  })
})
