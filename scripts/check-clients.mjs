/**
 * Asks `mora serve` with clients that are not ours, as their users do: installs them from npm, with the versions of
 * scripts/clients/package.json, into build/clients, and runs a program of each.
 *
 *     npm run check clients -- [--only openai,ai] [path/to/model]
 *
 * Codex and promptfoo are whole programs, which are installed only where --only names them, and skipped where they cannot be.
 * The model is the one of MORA_TEST_ASSETS, or else a tiny one with random weights, with a chat template that prints tools. Exit
 * code 1 if a client failed.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { initModel, loadTokenizer } from 'node-mora'
import { orUsageError, parseOptions } from '../bench/common/command-line.mjs'
import { modelPath } from '../bench/common/model-path.mjs'
import { someOf } from '../bench/common/options.mjs'

const CLIENTS = ['openai', 'openai-jobs', 'ai', 'langchain', 'agents', 'logs', 'anthropic']
/** Programs: their packages, and the oldest Node.js that they run on. */
const PROGRAMS = {
  codex: { package: '@openai/codex@0.171.0', node: 16 },
  promptfoo: { package: 'promptfoo@0.123.1', node: 22.22 },
}
const MODEL = 'model'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = join(root, 'build', 'clients')
const { values, positionals } = parseOptions('npm run check clients -- [--only openai,ai] [path/to/model]', {
  only: { type: 'string', default: CLIENTS.join() },
})
const clients = orUsageError(() => someOf('only', values.only, [...CLIENTS, ...Object.keys(PROGRAMS)]))
const given = positionals[0] ?? process.env.MORA_TEST_ASSETS
const chosen = given ? orUsageError(() => modelPath(positionals[0])) : undefined

cpSync(join(root, 'scripts', 'clients'), folder, { recursive: true })
if (!install(folder)) process.exit(1)

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
  const lacking = client in PROGRAMS ? whyNot(client) : undefined
  if (lacking) {
    console.log(`${client}: skipped: ${lacking}`)
    continue
  }
  const cwd = client in PROGRAMS ? programFolder(client) : folder
  const child = spawn(process.execPath, [join(folder, `${client}.mjs`)], {
    cwd,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (said += text))
  const [code] = await once(child, 'close')
  console.log(`${client}: ${code === 0 ? 'passed' : 'failed'}: ${said.trim()}`)
  if (code !== 0) process.exitCode = 1
}
server.removeAllListeners('exit')
server.kill()

/** Installs the packages of a folder, and others. Returns whether it did. */
function install(cwd, ...packages) {
  const options = ['--loglevel=error', '--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock']
  return (
    spawnSync('npm', ['install', ...options, ...packages], { cwd, stdio: ['ignore', 'ignore', 'inherit'] }).status === 0
  )
}

function programFolder(name) {
  return join(folder, 'programs', name)
}

/** Installs a program in a folder of its own, since its packages are many. Returns why that cannot be. */
function whyNot(name) {
  const { package: wanted, node } = PROGRAMS[name]
  if (Number.parseFloat(process.versions.node) < node) return `it needs Node.js ${node}`
  mkdirSync(programFolder(name), { recursive: true })
  writeFileSync(join(programFolder(name), 'package.json'), '{ "private": true }')
  return install(programFolder(name), wanted) ? undefined : `npm did not install ${wanted}`
}

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
    max_position_embeddings: 32_768,
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
