// How the time of a training step grows with a model's width and depth, with tokens, rank and vocabulary, and falls with
// threads: small models of random weights, fitted exponents and a plot.
//   npm run bench -- scaling [--method rotation] [--dtype bfloat16] [--plot FILE.svg]
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AdamW, initModel, openDevice } from 'node-mora'
import { packedBatch } from './common/batch.mjs'
import { orUsageError } from './common/command-line.mjs'
import { lineChart } from './common/internals.mjs'
import { describeMachine } from './common/machine.mjs'
import { adapterConfig, parseMethod } from './common/methods.mjs'
import { dtypeOf, readOptions } from './common/options.mjs'
import { report } from './common/report.mjs'
import { scratchFolder } from './common/scratch.mjs'
import { table } from './common/table.mjs'
import { trainStep } from './common/train-step.mjs'
import { secondsOf, spread, takeTurns, timedSides } from './common/turns.mjs'
import { exponentOf } from './scaling/fit.mjs'
import { base, batchShape, configOf, sweepsOf, tinyBase } from './scaling/sweeps.mjs'

const options = readOptions({
  usage: `node bench/scaling.mjs [options]: the time of a training step against each size of a model.

  --method NAME    lora, or an operator of MoRA; default rotation
  --dtype D        bfloat16 or float32, default bfloat16
  --tiny           sizes for a test
  --plot FILE      an SVG of time against size`,
  own: {
    method: { type: 'string', default: 'rotation' },
    dtype: { type: 'string', default: 'bfloat16' },
    tiny: { type: 'boolean', default: false },
    plot: { type: 'string' },
  },
  needsModel: false,
})
const { method, dtype } = orUsageError(() => ({
  method: parseMethod(options.method).name,
  dtype: dtypeOf('dtype', options.dtype),
}))
const folder = scratchFolder()
const device = openDevice({ device: 'cpu', threads: options.threads })
const machine = describeMachine(`Training steps of small models, ${method} in ${dtype}`, options)

const lines = []
const sweeps = []
for (const { name, points } of sweepsOf(options.tiny)) {
  process.stderr.write(`${name} …\n`)
  const sides = []
  for (const { value, sizes } of points) sides.push({ value, ...(await trainer(`${name} ${value}`, sizes)) })
  const results = await takeTurns(sides, options.rounds)
  const measured = sides.map(({ value, parameters, dispose }, i) => {
    dispose()
    return { value, parameters, seconds: spread(results[i]) }
  })
  for (const { value, seconds } of measured)
    lines.push({ name: `${name} ${value}`, sides: [{ name: 'node-mora', seconds }] })
  sweeps.push({ name, measured, ...exponents(measured) })
}
lines.push(...(await threadLines()))

const fits = sweeps.map(({ name, measured, ofSize, ofParameters }) => [
  name,
  measured.map(({ value }) => value).join(', '),
  ofSize.toFixed(2),
  ofParameters?.toFixed(2) ?? '-',
])
console.log(`\nTime grows as size to the power of\n${table(['size', 'values', 'size', 'parameters'], fits)}`)
report({ benchmark: 'scaling', machine, options, lines, facts: { method, dtype, sweeps } })
if (options.plot) writeFileSync(options.plot, plot())

/** A model of these sizes, and its training step as a side of `takeTurns`. */
async function trainer(name, sizes) {
  const path = join(folder, 'config.json')
  writeFileSync(path, JSON.stringify(configOf(sizes)))
  const model = await initModel(path, { device: 'cpu', dtype, seed: 1 })
  await model.addAdapter('trained', adapterConfig({ name: method, rank: sizes.rank }), { seed: 1 })
  const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
  const { rows, length } = batchShape(sizes)
  const ids = Int32Array.from({ length: rows * (length + 1) }, (_, i) => (i * 7919) % sizes.vocabulary)
  const batch = packedBatch(ids, rows, length)
  return {
    name,
    parameters: model.slots.reduce((sum, { own }) => sum + own.shape.reduce((product, size) => product * size, 1), 0),
    run: () => secondsOf(device, () => trainStep(model, optimizer, batch, 1e-4)),
    dispose: () => {
      optimizer.dispose()
      model.dispose()
    },
  }
}

/** Exponents of time against the size itself and, where it changes, against the model's parameters. */
function exponents(measured) {
  const against = (key) => exponentOf(measured.map((point) => ({ x: point[key], y: point.seconds.median })))
  const [first, ...others] = measured
  const grows = others.some(({ parameters }) => parameters !== first.parameters)
  return { ofSize: against('value'), ofParameters: grows ? against('parameters') : null }
}

/** The same step with one thread and with all. */
async function threadLines() {
  const all = device.facts().threads
  const { run, dispose } = await trainer('threads', options.tiny ? tinyBase : base)
  const counts = [1, 2].filter((count) => count <= all)
  const sides = counts.map((count) => ({
    name: count === 1 ? '1 thread' : `${count} threads`,
    run: () => {
      device.setThreads(count)
      return run()
    },
  }))
  const results = await takeTurns(sides, options.rounds)
  device.setThreads(all)
  dispose()
  return [{ name: 'threads', sides: timedSides(sides, results, (seconds) => seconds) }]
}

/** Both axes are logarithmic, so that a power is a straight line. */
function plot() {
  const series = sweeps.map(({ name, measured, ofSize }) => ({
    name: `${name}, exponent ${ofSize.toFixed(2)}`,
    points: measured.map(({ value, seconds }) => ({
      x: Math.log2(value / measured[0].value),
      y: seconds.median / measured[0].seconds.median,
    })),
  }))
  return lineChart({
    title: `A training step of ${method} in ${dtype}: time against size`,
    xLabel: 'doublings of the size',
    yLabel: 'time, first = 1',
    series,
    logarithmic: true,
  })
}
