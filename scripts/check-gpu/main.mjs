/** The check itself, run in the folder that gpu-pack/stage.mjs makes; scripts/check-gpu.mjs says what it is for. */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { orUsageError } from '../../bench/common/command-line.mjs'
import { table } from '../../bench/common/table.mjs'
import { native } from '../../dist/native.js'
import { openDevice } from '../../dist/tensor/device.js'
import { benchmarks } from './benchmarks.mjs'
import { folder } from './child.mjs'
import { kernelTests, operationTests, sanitizers } from './correctness.mjs'

const { training, ...measured } = benchmarks
const parts = { tests: operationTests, kernels: kernelTests, training, sanitizers, ...measured }
const predictions = join(folder, 'predicted.json')
const predicted = existsSync(predictions) ? predictions : null

const { values: options } = orUsageError(() =>
  parseArgs({
    options: {
      json: { type: 'string', default: 'gpu-report.json' },
      quick: { type: 'boolean', default: false },
      only: { type: 'string', default: Object.keys(parts).join(',') },
    },
  }),
)
const wanted = options.only.split(',')
const unknown = wanted.filter((name) => !(name in parts))
if (unknown.length > 0) {
  console.error(`Expected some of ${Object.keys(parts).join(', ')} for --only but received ${unknown.join(', ')}.`)
  process.exit(2)
}

const why = native.whyUnavailable('cuda')
if (why !== null) {
  console.error(`The GPU check cannot run here: ${why}.`)
  process.exit(2)
}

const emulated = process.env.MORA_CUDA === 'emulated'
const facts = openDevice({ device: 'cuda' }).facts()
const report = {
  date: new Date().toISOString(),
  version: native.version,
  emulated,
  quick: options.quick,
  device: facts,
  libraries: native.libraries(),
  parts: [],
}
console.log(`${facts.name}, ${(facts.totalMemory / 2 ** 30).toFixed(0)} GiB, ${facts.detail}`)
if (emulated) console.log('This is the emulator: sizes are tiny, and times say nothing of a GPU.')

for (const name of wanted) {
  process.stderr.write(`${name} …\n`)
  const started = performance.now()
  const result = parts[name]({ ...options, emulated, predicted })
  report.parts.push({ name, seconds: (performance.now() - started) / 1000, ...result })
  writeFileSync(options.json, JSON.stringify(report, null, 1))
}

console.log(
  `\n${table(
    ['part', 'result', 'seconds', 'what'],
    report.parts.map(({ name, status, seconds, summary }) => [name, status, seconds.toFixed(1), summary]),
  )}\n\nReport: ${options.json}`,
)
process.exit(report.parts.some(({ status }) => status === 'failed') ? 1 : 0)
