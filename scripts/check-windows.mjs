/**
 * Builds node-mora for Windows x64 by MinGW and tries it under Wine with Node.js for Windows: files (replaced while they are open,
 * locked, of long names), the tokenizer's process, operations, gradients and training steps against golden values, runs in paths
 * with spaces, backslashes and letters beyond ASCII, rows with CRLF, a killed run, merging, generating, and the server. Takes dist
 * as it is.
 *
 *   npm run check windows -- [--only files,doctor]
 *
 * Prints a line for each part. Ends with 1 if one failed, and with 2 and the reason if MinGW, Wine or Node.js for Windows are
 * unavailable. Wine is not Windows, and Visual Studio's compiler is not tried.
 */
import { spawnSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import { orUsageError } from '../bench/common/command-line.mjs'
import { someOf } from '../bench/common/options.mjs'
import { begin, doctor, files, serve, train, use } from './windows/parts.mjs'
import { inRoot } from './windows/wine.mjs'

const parts = { files, doctor, train, use, serve }

const names = Object.keys(parts)
const wanted = orUsageError(() => {
  const { values } = parseArgs({ options: { only: { type: 'string', default: names.join() } } })
  return someOf('only', values.only, names)
})

const setUp = spawnSync('bash', [inRoot('scripts', 'windows', 'setup.sh'), '--run'], { encoding: 'utf8' })
process.stderr.write(setUp.stderr)
if (setUp.status !== 0) {
  console.log(`skipped: ${setUp.stderr.trim().split('\n').at(-1)}`)
  process.exit(setUp.status === 3 ? 2 : 1)
}

if (!(await say('build', build))) process.exit(1)
for (const name of wanted) {
  begin()
  if (!(await say(name, parts[name]))) process.exitCode = 1
}

/** Runs a part, which returns a summary and throws if it failed. */
async function say(name, part) {
  const started = performance.now()
  const [mark, summary] = await attempt(part)
  console.log(`${mark} ${name}: ${summary} (${((performance.now() - started) / 1000).toFixed(0)} s)`)
  return mark === '✓'
}

async function attempt(part) {
  try {
    return ['✓', await part()]
  } catch (error) {
    return ['✗', error.message]
  }
}

function build() {
  const script = [inRoot('scripts', 'build-native.mjs'), '--windows', '--if-needed']
  const { status } = spawnSync(process.execPath, script, { stdio: ['ignore', 2, 2] })
  if (status !== 0) throw new Error('it could not be built (see above)')
  return 'build-windows/Release/mora.node'
}
