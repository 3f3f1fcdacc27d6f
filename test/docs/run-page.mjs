/**
 * Runs the blocks of one page as a user's project would: from `dist`, in one process and one folder, from top to bottom. Before
 * a block, copies the files that it reads, unless an earlier block made them, and removes what it writes. Argument: a JSON file
 * with `folder`, `samples`, `root` and `blocks`. Exit code 1 with a sentence when one fails.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const { folder, samples, root, blocks } = JSON.parse(readFileSync(process.argv[2], 'utf8'))
process.chdir(folder)
const main = join(root, 'dist', 'cli', 'main.js')
const [{ runCommandLine }, { commands }, { processTerminal }] = await Promise.all(
  ['run-command.js', 'commands/index.js', 'terminal/terminal.js'].map(
    (name) => import(join(root, 'dist', 'cli', name)),
  ),
)

for (const block of blocks) {
  prepare(block)
  if (block.module) await runModule(block)
  else for (const command of block.commands) await runCommand(block, command)
}

function prepare({ code }) {
  const lines = code.split('\n')
  for (const name of readdirSync(samples)) {
    const mention = lines.find((line) => mentions(line, name))
    if (mention === undefined) continue
    const writes = mention.includes('--resume')
      ? null
      : /(--output |output: '|save\('|saveAdapter\('\w+', ')(\S+)/.exec(mention)
    if (writes && mentions(writes[2], name)) rmSync(name, { recursive: true, force: true })
    else if (!existsSync(name)) cpSync(join(samples, name), name, { recursive: true })
  }
}

/** Whether a text contains a path by itself: not `merged` in `merged.gguf`, but `out` in `out/run.yaml`. */
function mentions(text, name) {
  return new RegExp(`(?<![\\w./-])${name.replaceAll('.', '\\.')}(?![\\w.-])`).test(text)
}

async function runModule({ where, module }) {
  try {
    await import(pathToFileURL(module).href)
  } catch (error) {
    fail(`${where}: ${error.stack}`)
  }
}

async function runCommand({ where, exitCode: expected }, { text, mora }) {
  console.log(`$ ${text}`)
  const status = mora ? await runMora(mora) : runShell(text)
  if (status !== expected) fail(`${where}: expected exit code ${expected} of "${text}" but it was ${status}`)
}

function runMora(argv) {
  return runCommandLine(argv, { commands, version: '0.0.0', terminal: processTerminal() })
}

function runShell(text) {
  const script = `set -euo pipefail\nmora() { "${process.execPath}" "${main}" "$@"; }\n${text}`
  return spawnSync('bash', ['-c', script], { stdio: ['ignore', 'inherit', 'inherit'] }).status
}

function fail(message) {
  console.error(message)
  process.exit(1)
}
