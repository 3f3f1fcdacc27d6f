// Where the time of a training step goes: runs a few steps with the device's profile on and prints a row for each
// operation and size, with its share, its arithmetic rate and its traffic.
import { writeFileSync } from 'node:fs'
import { AdamW, loadModel } from 'node-mora'
import { packedBatch, textIds } from './common/batch.mjs'
import { orUsageError, parseOptions } from './common/command-line.mjs'
import { adapterConfig } from './common/methods.mjs'
import { modelPath } from './common/model-path.mjs'
import { whole } from './common/options.mjs'
import { stepOf, stepOptions } from './common/step-options.mjs'
import { mebibytes, table } from './common/table.mjs'
import { trainStep } from './common/train-step.mjs'

const usage = `node bench/profile.mjs [MODEL] [options]: where the time of a training step goes.

  --method M       lora:RANK or an operator of MoRA with :RANK, default rotation:8
  --dtype D        bfloat16 or float32, default bfloat16
  --steps N        that are counted, after one that is not; default 2
  --rows N         documents of a step, default 4; --length N: tokens of each, default 512
  --threads N      default all cores
  --int8           products with frozen weights in 8 bits
  --checkpointing  recompute activations in the backward pass
  --json FILE      also write everything as JSON`

const { values: options, positionals } = orUsageError(() =>
  parseOptions(usage, {
    ...stepOptions,
    steps: { type: 'string', default: '2' },
    threads: { type: 'string', default: '0' },
    int8: { type: 'boolean', default: false },
    checkpointing: { type: 'boolean', default: false },
    json: { type: 'string' },
  }),
)
const { method, dtype, rows, length } = stepOf(options)
const { path, steps, threads } = orUsageError(() => ({
  path: modelPath(positionals[0]),
  steps: whole('steps', options.steps, 1),
  threads: whole('threads', options.threads, 0),
}))
const model = await loadModel(path, { device: 'cpu', dtype, threads })
model.addAdapter('profiled', adapterConfig(method))
model.gradientCheckpointing = options.checkpointing
model.compute = options.int8 ? 'int8' : 'auto'
const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
const batch = packedBatch(await textIds(model.tokenizer, rows, length), rows, length)
const step = () => trainStep(model, optimizer, batch, 3e-4)

await step()
model.device.resetPeak()
model.device.profile(true)
const start = performance.now()
for (let i = 0; i < steps; i++) await step()
const seconds = (performance.now() - start) / 1000 / steps
await model.device.synchronize()
const entries = model.device
  .profileReport()
  .filter(({ operation }) => operation !== 'callback')
  .sort((a, b) => b.seconds - a.seconds)
model.device.profile(false)

const busy = entries.reduce((sum, entry) => sum + entry.seconds, 0) / steps
print('By operation', merged(entries), [])
print('By operation and size', entries, ['size'])
const tokens = (rows * length) / seconds
console.log(
  `${method.label}, ${dtype}, ${rows} × ${length} tokens, ${model.device.facts().detail}\n` +
    `step ${seconds.toFixed(3)} s (${tokens.toFixed(0)} tokens/s), of which operations ${busy.toFixed(3)} s and ` +
    `waiting ${(seconds - busy).toFixed(3)} s; memory at most ${mebibytes(model.device.memory().peak)} MiB`,
)
if (options.json) {
  writeFileSync(options.json, JSON.stringify({ method, dtype, rows, length, steps, seconds, entries }))
}
optimizer.dispose()
model.dispose()

function merged(all) {
  const sums = new Map()
  for (const { operation, calls, seconds, flops, bytes } of all) {
    const sum = sums.get(operation) ?? { operation, calls: 0, seconds: 0, flops: 0, bytes: 0 }
    sums.set(operation, sum)
    sum.calls += calls
    sum.seconds += seconds
    sum.flops += flops
    sum.bytes += bytes
  }
  return [...sums.values()].sort((a, b) => b.seconds - a.seconds)
}

/** Averages over steps. */
function print(title, all, sizes) {
  const rate = (amount, time) => (amount > 0 ? (amount / time / 1e9).toFixed(1) : '-')
  const lines = all.map(({ operation, label, calls, seconds: time, flops, bytes }) => [
    operation,
    ...sizes.map(() => label),
    (calls / steps).toFixed(0),
    (time / steps).toFixed(4),
    `${((100 * time) / steps / busy).toFixed(1)}%`,
    rate(flops, time),
    rate(bytes, time),
  ])
  console.log(`${title}\n${table(['operation', ...sizes, 'calls', 'seconds', 'share', 'GFLOP/s', 'GB/s'], lines)}\n`)
}
