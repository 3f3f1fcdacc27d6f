/**
 * Builds node-mora for Windows x64 by MinGW and tries it under Wine with Node.js for Windows: files (replaced while they are open,
 * locked, of long names), the tokenizer's process, operations, gradients and training steps against golden values, the tests of
 * operations and golden training runs, runs in paths with spaces, backslashes and letters beyond ASCII, rows with CRLF, a killed
 * run, Ctrl-Break, merging, generating, the server, and the package, installed. Takes dist as it is.
 *
 *   npm run check windows -- [--only files,doctor]
 *
 * Prints a line for each part. Ends with 1 if one failed, and with 2 and the reason if MinGW, Wine or Node.js for Windows are
 * unavailable. Wine is not Windows, and Visual Studio's compiler is not tried.
 */
import { parseArgs } from 'node:util'
import { orUsageError } from '../bench/common/command-line.mjs'
import { someOf } from '../bench/common/options.mjs'
import { building, say, setUp } from './systems/parts.mjs'
import { begin, breaks, doctor, files, packaged, serve, tests, train, use } from './windows/parts.mjs'
import { inRoot } from './windows/wine.mjs'

const parts = { files, doctor, tests, train, breaks, use, serve, package: packaged }

const names = Object.keys(parts)
const wanted = orUsageError(() => {
  const { values } = parseArgs({ options: { only: { type: 'string', default: names.join() } } })
  return someOf('only', values.only, names)
})

setUp(inRoot('scripts', 'windows', 'setup.sh'), '--run')
if (!(await say('build', building('--windows', 'build-windows')))) process.exit(1)
for (const name of wanted) {
  begin()
  if (!(await say(name, parts[name]))) process.exitCode = 1
}
