/** promptfoo's command, which evaluates chats by assertions. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { baseURL, model } from './common.mjs'

const folder = mkdtempSync(join(process.cwd(), 'promptfoo-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
const choice = (...choice) => ({ passthrough: { structured_outputs: { choice } } })
const config = {
  prompts: ['Is {{thing}} blue? Answer with a word.'],
  providers: [
    { id: `openai:chat:${model}`, label: 'sure', config: { max_tokens: 16, ...choice('Yes.') } },
    { id: `openai:chat:${model}`, label: 'unsure', config: { max_tokens: 16, ...choice('Perhaps.') } },
  ],
  tests: [{ vars: { thing: 'the sky' }, assert: [{ type: 'equals', value: 'Yes.' }] }],
}
writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
const program = join(process.cwd(), 'node_modules', 'promptfoo', 'dist', 'src', 'entrypoint.js')
const env = {
  ...process.env,
  OPENAI_BASE_URL: baseURL,
  OPENAI_API_KEY: 'none',
  PROMPTFOO_CONFIG_DIR: folder,
  PROMPTFOO_DISABLE_TELEMETRY: '1',
  PROMPTFOO_DISABLE_UPDATE: '1',
}
const { stdout, stderr } = spawnSync(
  process.execPath,
  [program, 'eval', '-c', 'config.json', '-o', 'result.json', '--no-cache', '--no-share'],
  { cwd: folder, env, encoding: 'utf8', timeout: 300_000 },
)
const { results } = JSON.parse(readFileSync(join(folder, 'result.json'), 'utf8'))
const said = results.results.map(({ provider, response, success }) => [provider.label, response?.output, success])
assert.deepEqual(
  said.sort(),
  [
    ['sure', 'Yes.', true],
    ['unsure', 'Perhaps.', false],
  ],
  stdout + stderr,
)
console.log('two providers, one of which fits')
