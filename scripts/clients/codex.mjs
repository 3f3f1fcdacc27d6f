/** Codex's command, by responses. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { json, text } from 'node:stream/consumers'
import { baseURL, model } from './common.mjs'

const GREETING = 'Good day.'
const CALL = '<tool_call>\n{"name": "exec_command", "arguments": {"cmd": "echo hello"}}\n</tool_call>'

// Codex has no setting for what a small model is to say, so that it would ramble up to the limit of tokens.
const between = createServer(async (request, response) => {
  const asked = await json(request)
  const results = asked.input.filter(({ type }) => type === 'function_call_output')
  const body = { ...asked, structured_outputs: { choice: [results.length > 0 ? GREETING : CALL] } }
  const headers = { 'content-type': 'application/json' }
  const answer = await fetch(baseURL + request.url, { method: 'POST', headers, body: JSON.stringify(body) })
  response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') })
  Readable.fromWeb(answer.body).pipe(response)
})
between.listen(0, '127.0.0.1')
await once(between, 'listening')

const home = mkdtempSync(join(process.cwd(), 'codex-'))
process.on('exit', () => rmSync(home, { recursive: true, force: true }))
// As docs/serving.md has it.
const config = `
model = "${model}"
model_provider = "mora"
web_search = "disabled"

[agents]
enabled = false

[features]
multi_agent = false
goals = false

[model_providers.mora]
name = "mora"
base_url = "http://127.0.0.1:${between.address().port}"
wire_api = "responses"
stream_idle_timeout_ms = 600000
`
writeFileSync(join(home, 'config.toml'), config)
const cwd = join(home, 'empty')
mkdirSync(cwd)
const program = join(process.cwd(), 'node_modules', '@openai', 'codex', 'bin', 'codex.js')
const child = spawn(process.execPath, [program, 'exec', '--skip-git-repo-check', '--json', 'Say hello.'], {
  cwd,
  env: { ...process.env, CODEX_HOME: home },
  stdio: ['ignore', 'pipe', 'pipe'],
})
const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
const events = stdout
  .split('\n')
  .filter((line) => line.startsWith('{'))
  .map((line) => JSON.parse(line))
const end = events.at(-1)
assert.equal(end?.type, 'turn.completed', stdout + stderr)
assert(end.usage.input_tokens > 1000 && end.usage.output_tokens > 0)
const ran = events.filter(({ type, item }) => type === 'item.completed' && item.type === 'command_execution')
assert.equal(ran.length, 1)
assert.match(ran[0].item.command, /echo hello/)
const said = events.filter(({ type, item }) => type === 'item.completed' && item.type === 'agent_message')
assert.deepEqual(
  said.map(({ item }) => item.text),
  [GREETING],
)
between.close()
console.log(`a call and an answer, with ${end.usage.input_tokens} tokens`)
