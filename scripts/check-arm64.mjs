/**
 * Builds node-mora for Linux arm64 on a machine with another processor and tries it there by qemu: that mora doctor sees a
 * device, the tests of the operations, the C++ tests, a golden training run, and the platform package, packed, installed and
 * used. Takes dist as it is.
 *
 *   npm run check arm64 -- [--only doctor,training]
 *
 * Prints a line for each part. Ends with 1 if one failed, and with 2 and the reason if the compiler, qemu, Debian's packages or
 * Node.js for arm64 are unavailable. The processes run on one machine's memory model: races that only arm64's weaker one shows
 * are left to ThreadSanitizer (npm run build tsan).
 */
import { parseArgs } from 'node:util'
import { orUsageError } from '../bench/common/command-line.mjs'
import { someOf } from '../bench/common/options.mjs'
import { inRoot } from './arm64/machine.mjs'
import { packageWorks } from './arm64/package.mjs'
import { doctorSeesADevice, nativeTests, processors, tests } from './arm64/parts.mjs'
import { building, say, setUp } from './systems/parts.mjs'

const { newest, oldest } = processors
const parts = {
  doctor: doctorSeesADevice,
  operations: tests('test/operations', newest),
  // Without instructions for it, bfloat16 takes other code paths.
  'operations-oldest': tests('test/operations/operations.test.ts', oldest, 'in bfloat16'),
  native: nativeTests(newest),
  training: tests('test/golden/tiny-training.test.ts', newest, 'tiny-tied-llama3-rope'),
  package: packageWorks,
}

const names = Object.keys(parts)
const wanted = orUsageError(() => {
  const { values } = parseArgs({ options: { only: { type: 'string', default: names.join() } } })
  return someOf('only', values.only, names)
})

setUp(inRoot('scripts', 'arm64', 'setup.sh'))
if (!(await say('build', building('--arm64', 'build-arm64')))) process.exit(1)
for (const name of wanted) if (!(await say(name, parts[name]))) process.exitCode = 1
