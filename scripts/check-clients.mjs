/**
 * Asks `mora serve` with clients that are not ours, as their users do: installs them from npm, with the versions of
 * scripts/clients/package.json, into build/clients, and runs a program of each.
 *
 *     npm run check clients -- [--only openai,ai] [path/to/model]
 *
 * The model is the one of MORA_TEST_ASSETS, or else a tiny one with random weights, with a chat template that prints tools. Exit
 * code 1 if a client failed.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { initModel, loadTokenizer } from 'node-mora'
import { orUsageError, parseOptions } from '../bench/common/command-line.mjs'
import { modelPath } from '../bench/common/model-path.mjs'
import { someOf } from '../bench/common/options.mjs'

const CLIENTS = ['openai', 'openai-jobs', 'ai', 'langchain', 'agents', 'logs', 'anthropic']
const MODEL = 'model'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = join(root, 'build', 'clients')
const { values, positionals } = parseOptions('npm run check clients -- [--only openai,ai] [path/to/model]', {
  only: { type: 'string', default: CLIENTS.join() },
})
const clients = orUsageError(() => someOf('only', values.only, CLIENTS))
const given = positionals[0] ?? process.env.MORA_TEST_ASSETS
const chosen = given ? orUsageError(() => modelPath(positionals[0])) : undefined

cpSync(join(root, 'scripts', 'clients'), folder, { recursive: true })
const npm = ['install', '--loglevel=error', '--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock']
const { status } = spawnSync('npm', npm, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
if (status !== 0) process.exit(1)

const jobs = mkdtempSync(join(folder, 'jobs-'))
process.on('exit', () => rmSync(jobs, { recursive: true, force: true }))
const options = [
  '--model',
  chosen ?? (await tinyModel()),
  '--name',
  MODEL,
  '--template',
  join(folder, 'tools.jinja'),
  '--port',
  '0',
  '--jobs',
  jobs,
]
const server = spawn(process.execPath, [join(root, 'dist', 'cli', 'main.js'), 'serve', ...options], {
  stdio: ['ignore', 'pipe', 'inherit'],
})
process.on('exit', () => server.kill())
server.on('exit', () => process.exit(1))
const origin = await addressOf(server.stdout)
const env = { ...process.env, MORA_URL: `${origin}/v1`, MORA_MODEL: MODEL }
for (const client of clients) {
  const child = spawn(process.execPath, [`${client}.mjs`], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (said += text))
  const [code] = await once(child, 'close')
  console.log(`${client}: ${code === 0 ? 'passed' : 'failed'}: ${said.trim()}`)
  if (code !== 0) process.exitCode = 1
}
server.removeAllListeners('exit')
server.kill()

/** Makes a model with random weights, whose tokenizer spells bytes, as constraints need it. */
async function tinyModel() {
  const config = {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: 502,
    hidden_size: 32,
    intermediate_size: 64,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
  }
  const path = join(folder, 'tiny.json')
  writeFileSync(path, JSON.stringify(config))
  const tokenizer = await loadTokenizer(join(root, 'test', 'golden', 'tokenizers', 'small-bpe'))
  const model = await initModel(path, { tokenizer, device: 'cpu' })
  await model.save(join(folder, 'tiny'), { overwrite: true })
  model.dispose()
  return join(folder, 'tiny')
}

/** Returns the address that the server prints once it answers. */
async function addressOf(output) {
  for await (const line of createInterface({ input: output })) {
    const address = /listening on (\S+)/.exec(line)?.[1]
    if (address) return address
  }
  throw new Error('The server ended before it answered.')
}
