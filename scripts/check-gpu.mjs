/**
 * Checks and measures the CUDA backend on this machine's GPU: operation tests, golden data, training against the CPU, what only
 * hardware shows, races, benchmarks, and PyTorch for comparison. Prints tables and keeps one JSON report, which is complete
 * after every test and measurement, however the check ends. Ends with 2 if no GPU can be used, 1 if a check failed. Needs `npm
 * install` and `npm run build native`; on machines without a compiler, use the pack of `npm run pack gpu`.
 *
 *     npm run check gpu -- [--json gpu-report.json] [--quick] [--only tests,products] [--minutes 10]
 *
 * With --minutes, parts are cut short or left out so that the check ends in that time; the most telling ones come first.
 *
 * With MORA_CUDA=emulated it runs on the emulator, at tiny sizes, which only shows that the check itself works.
 */
import { spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { addPredictions } from './gpu-pack/predictions.mjs'
import { stage } from './gpu-pack/stage.mjs'

const started = Date.now()
const root = dirname(dirname(fileURLToPath(import.meta.url)))
const folder = process.env.MORA_CHECK_FOLDER ?? join(root, 'build', 'check-gpu')
const addon = process.env.MORA_BINARY ?? join(root, 'build', 'Release', 'mora.node')
stage(folder)
if (process.env.MORA_CUDA !== 'emulated') addPredictions(folder, addon)
const child = spawn(process.execPath, [join(folder, 'scripts', 'check-gpu', 'main.mjs'), ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: {
    ...process.env,
    MORA_BINARY: addon,
    MORA_CHECK_STARTED: String(started),
    MORA_KERNEL_TESTS: process.env.MORA_KERNEL_TESTS ?? join(root, 'build', 'cmake', 'Release', 'gpu_kernel_tests'),
  },
})
// The check ends by itself then, with its report.
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.on(signal, () => child.kill(signal))
child.on('close', (status) => process.exit(status ?? 1))
