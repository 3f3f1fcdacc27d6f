/**
 * Builds node-mora for macOS, arm64 and x64, on Linux with zig, and checks what can be checked without a Mac: that the files are
 * for these systems, and that Node.js or macOS has everything that they need. Nothing of them is run. "products" builds the addon
 * for this machine with products by a BLAS, as macOS has them, and runs it: operations, "mora doctor --check" and a golden training
 * run.
 *
 *   npm run check macos -- [--only arm64,x64,products]
 *
 * Prints a line for each part. Ends with 1 if one failed, and with 2 and the reason if zig or a BLAS is unavailable.
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
const parts = { arm64: () => built('arm64'), x64: () => built('x64'), products }
const names = Object.keys(parts)
const wanted = orUsageError(() => {
  const { values } = parseArgs({ options: { only: { type: 'string', default: names.join() } } })
  return someOf('only', values.only, names)
})

for (const name of wanted) {
  const [mark, summary] = parts[name]()
  console.log(`${mark} ${name}: ${summary}`)
  if (mark !== '✓') process.exitCode = process.exitCode === 1 || mark === '✗' ? 1 : 2
}

function built(architecture) {
  const setUp = spawnSync('bash', [join(root, 'scripts', 'macos', 'setup.sh')], { encoding: 'utf8' })
  process.stderr.write(setUp.stderr)
  if (setUp.status !== 0) return [setUp.status === 3 ? 'skipped' : '✗', setUp.stderr.trim().split('\n').at(-1)]
  if (!build([`--macos=${architecture}`])) return ['✗', 'it could not be built (see above)']
  const addon = join(root, `build-macos-${architecture}`, 'Release', 'mora.node')
  const { architecture: found, needed } = readMachO(addon)
  const faults = [...(found === architecture ? [] : [`it is for ${found}`]), ...faultsOf(addon)]
  if (faults.length > 0) return ['✗', faults.join(', ')]
  const ofNode = needed.filter(({ library }) => library === null).length
  return [
    '✓',
    `for macOS ${oldestMacos} or newer, ${(statSync(addon).size / 2 ** 20).toFixed(1)} MB, ` +
      `needs ${ofNode} functions of Node-API and ${needed.length - ofNode} of libSystem`,
  ]
}

function products() {
  const folder = join(root, 'build', 'blas')
  if (!build([`--into=${folder}`], { MORA_BUILD_PRODUCTS: 'blas' })) return ['✗', 'it could not be built (see above)']
  const environment = { ...process.env, MORA_BINARY: join(folder, 'Release', 'mora.node') }
  const node = (...script) =>
    spawnSync(process.execPath, script, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 2], env: environment })
  const { status, stdout } = node('dist/cli/main.js', 'doctor', '--check', '--json')
  const { libraries, check } = JSON.parse(stdout)
  if (!libraries.some(({ name, version }) => name === 'BLAS' && version === 'of the system'))
    return ['skipped', 'no libblas.so.3 was found (Debian: libblas3)']
  if (status !== 0)
    return [
      '✗',
      check.results
        .filter(({ passed }) => !passed)
        .map(({ name }) => name)
        .join(', '),
    ]
  const files = ['test/operations', 'test/golden/tiny-training.test.ts']
  const tested = node('node_modules/vitest/vitest.mjs', 'run', '--project', 'cpu', ...files)
  if (tested.status === 0)
    return ['✓', `${check.results.length} checks of the doctor, and tests of ${files.join(', ')}`]
  process.stderr.write(tested.stdout)
  return ['✗', 'tests failed (see above)']
}

function build(how, environment = {}) {
  const script = [join(root, 'scripts', 'build-native.mjs'), ...how, '--if-needed']
  const env = { ...process.env, ...environment }
  return spawnSync(process.execPath, script, { stdio: ['ignore', 2, 2], env }).status === 0
}
