// One side of bench/train.mjs: trains with node-mora, a step for each line that it reads, and writes a line of JSON each.
// The only argument is JSON: {model, adapter, tokens, dtype, rows, length, threads, learningRate}.
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { loadModel } from '../../dist/models/index.js'
import { AdamW } from '../../dist/optim/adamw.js'
import { packedBatch } from '../common/batch.mjs'
import { trainStep } from '../common/train-step.mjs'

const options = JSON.parse(process.argv[2])
const { dtype, rows, length, threads, learningRate } = options
const model = await loadModel(options.model, { device: 'cpu', dtype, threads })
await model.loadAdapter(options.adapter)
const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
const bytes = readFileSync(options.tokens)
const ids = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
const batch = packedBatch(ids, rows, length)
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)

say({ version: `node ${process.version}`, threads: threads || model.device.facts().threads })
for await (const _ of createInterface({ input: process.stdin })) {
  const [start, cpuStart] = [performance.now(), process.cpuUsage()]
  const values = await trainStep(model, optimizer, batch, learningRate)
  const { user, system } = process.cpuUsage(cpuStart)
  say({ ...values, seconds: (performance.now() - start) / 1000, cpuSeconds: (user + system) / 1e6 })
}
