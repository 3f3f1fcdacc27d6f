/**
 * Checks and measures the CUDA backend on this machine's GPU: operation tests, golden data, training beside the CPU,
 * races, benchmarks. Prints tables and writes one JSON report. Ends with 2 where no GPU can be used, 1 where a check
 * failed. Needs `npm install` and `npm run build:native`; on machines without a compiler, use what `npm run pack:gpu` makes.
 *
 *     npm run check:gpu -- [--json gpu-report.json] [--quick] [--only tests,products]
 *
 * With MORA_CUDA=emulated it runs on the emulator, at tiny sizes, which only shows that the check itself works.
 */
import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { addPredictions } from './gpu-pack/predictions.mjs'
import { stage } from './gpu-pack/stage.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const folder = process.env.MORA_CHECK_FOLDER ?? join(root, 'build', 'check-gpu')
const addon = process.env.MORA_BINARY ?? join(root, 'build', 'Release', 'mora.node')
stage(folder)
if (process.env.MORA_CUDA !== 'emulated') addPredictions(folder, addon)
const { status } = spawnSync(
  process.execPath,
  [join(folder, 'scripts', 'check-gpu', 'main.mjs'), ...process.argv.slice(2)],
  {
    stdio: 'inherit',
    env: {
      ...process.env,
      MORA_BINARY: addon,
      MORA_KERNEL_TESTS: process.env.MORA_KERNEL_TESTS ?? join(root, 'build', 'cmake', 'Release', 'gpu_kernel_tests'),
    },
  },
)
process.exit(status ?? 1)
