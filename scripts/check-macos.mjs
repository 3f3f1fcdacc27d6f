/**
 * Builds node-mora for macOS, arm64 and x64, on Linux with zig, and checks what can be checked without a Mac: that the files are
 * for these systems, and that Node.js or macOS has everything that they need. Nothing of them is run.
 *
 *   npm run check macos -- [--only arm64,x64]
 *
 * Ends with 1 if a check failed, and with 2 and the reason if zig is unavailable.
 */
import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { orUsageError } from '../bench/common/command-line.mjs'
import { someOf } from '../bench/common/options.mjs'
import { faultsOf, oldestMacos, readMachO } from './packing/mach-o.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const names = ['arm64', 'x64']
const wanted = orUsageError(() => {
  const { values } = parseArgs({ options: { only: { type: 'string', default: names.join() } } })
  return someOf('only', values.only, names)
})

const setUp = spawnSync('bash', [join(root, 'scripts', 'macos', 'setup.sh')], { encoding: 'utf8' })
process.stderr.write(setUp.stderr)
if (setUp.status !== 0) {
  console.log(`skipped: ${setUp.stderr.trim().split('\n').at(-1)}`)
  process.exit(setUp.status === 3 ? 2 : 1)
}

for (const name of wanted) {
  const script = [join(root, 'scripts', 'build-native.mjs'), `--macos=${name}`, '--if-needed', '--required']
  const { status } = spawnSync(process.execPath, script, { stdio: ['ignore', 2, 2] })
  const [mark, summary] = status === 0 ? examined(name) : ['✗', 'it could not be built (see above)']
  console.log(`${mark} ${name}: ${summary}`)
  if (mark === '✗') process.exitCode = 1
}

function examined(name) {
  const addon = join(root, `build-macos-${name}`, 'Release', 'mora.node')
  const { architecture, needed } = readMachO(addon)
  const faults = [...(architecture === name ? [] : [`it is for ${architecture}`]), ...faultsOf(addon)]
  if (faults.length > 0) return ['✗', faults.join(', ')]
  const ofNode = needed.filter(({ library }) => library === null).length
  return [
    '✓',
    `for macOS ${oldestMacos} or newer, ${(statSync(addon).size / 2 ** 20).toFixed(1)} MB, ` +
      `needs ${ofNode} functions of Node-API and ${needed.length - ofNode} of libSystem`,
  ]
}
