// How fast a training step is, against PyTorch and against what this machine can do, measured in one run:
//   npm run bench:train -- [MODEL] [--quick] [--methods lora:8,rotation:8] [--dtypes bfloat16] [--steps 4] [--json FILE]
// Each side is a process of its own with the same weights, adapter and tokens; steps are taken in turn.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { orUsageError } from './common/command-line.mjs'
import { boundOf } from './training/bound.mjs'
import { contest, pytorchVersion } from './training/contest.mjs'
import { readOptions } from './training/options.mjs'
import { prepare } from './training/prepare.mjs'
import { boundReport, lossDifference, peaksReport, stepsReport } from './training/report.mjs'

const options = orUsageError(() => readOptions(process.argv.slice(2)))
const { rows, length } = options
const folder = mkdtempSync(join(tmpdir(), 'mora-bench-'))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))

const load = loadavg()[0]
const pytorch = pytorchVersion(options.python)
console.log(
  `${options.model}, ${rows} × ${length} tokens; ${cpus()[0].model}, ${cpus().length} cores, load ${load.toFixed(1)}`,
)
if (load > cpus().length / 4)
  console.log('Others are using this machine: figures are lower than it can do, and they scatter.')
console.log(pytorch ? `PyTorch ${pytorch}` : `${options.python} has no torch and numpy: only node-mora is measured.`)

const { config, linears, trained, products, peaks, device } = await prepare(options, folder)
console.log(`\n${peaksReport(peaks, products)}\n`)

const started = performance.now()
const cases = []
const waiting = [...options.cases]
while (waiting.length > 0) {
  const { dtype, method } = waiting[0]
  const left = options.minutes * 60 - (performance.now() - started) / 1000
  const seconds = left / waiting.length
  process.stderr.write(`${dtype}, ${method.label} …\n`)
  const { sides, notes } = await contest({ options, folder, method, dtype, withPytorch: pytorch !== null, seconds })
  for (const side of sides.slice(1)) side.comparison = lossDifference(sides[0].losses, side.losses, dtype)
  const lengths = Array.from({ length: rows }, () => length)
  const bound = boundOf({ config, linears, method, lengths, dtype, peaks: peaks[dtype] })
  cases.push({ dtype, method, trainedParameters: trained[method.label], sides, bound, notes })
  waiting.shift()
}

console.log(`${stepsReport(cases, rows * length)}\n`)
for (const note of new Set(cases.flatMap(({ notes }) => notes))) console.log(`${note}\n`)
console.log(boundReport(cases))
if (options.json) {
  const machine = { cpu: device.name, detail: device.detail, cores: cpus().length, load }
  writeFileSync(
    options.json,
    `${JSON.stringify({ machine, pytorch, model: options.model, rows, length, peaks, cases }, null, 2)}\n`,
  )
}
const apart = cases.flatMap(({ dtype, method, sides }) =>
  sides.filter(({ comparison }) => comparison?.agree === false).map(({ name }) => `${name}, ${dtype}, ${method.label}`),
)
if (apart.length > 0) {
  console.error(`Losses do not agree with: ${apart.join('; ')}.`)
  process.exitCode = 1
}
