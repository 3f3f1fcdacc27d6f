// One side of bench/train.mjs and bench/memory.mjs: trains with node-mora, a step for each line that it reads, and writes a
// line of JSON each. The only argument is JSON: {model, adapter, tokens, dtype, rows, length, threads, learningRate} and
// optional `checkpointing`, and `memory` [bytes], which cuts a step into forward passes as `mora train` does.
import { createInterface } from 'node:readline'
import { AdamW, loadModel } from 'node-mora'
import { batchOfRows, readIds } from '../common/batch.mjs'
import { planMicroBatches, tokenBudget } from '../common/internals.mjs'
import { trainStep } from '../common/train-step.mjs'

const options = JSON.parse(process.argv[2])
const { dtype, rows, length, threads, learningRate, checkpointing = false, memory } = options
const model = await loadModel(options.model, { device: 'cpu', dtype, threads })
await model.loadAdapter(options.adapter)
model.gradientCheckpointing = checkpointing
const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
const ids = readIds(options.tokens)
const tokens = memory === undefined ? rows * length : tokenBudget(model, memory)
const passes = planMicroBatches(new Array(rows).fill(length), { tokenBudget: tokens })
const batches = passes.map((pass) => batchOfRows(ids, pass, length))
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)

say({ version: `node ${process.version}`, threads: threads || model.device.facts().threads })
for await (const _ of createInterface({ input: process.stdin })) {
  const [start, cpuStart] = [performance.now(), process.cpuUsage()]
  const values = await trainStep(model, optimizer, batches, learningRate)
  const { user, system } = process.cpuUsage(cpuStart)
  say({ ...values, seconds: (performance.now() - start) / 1000, cpuSeconds: (user + system) / 1e6 })
}
