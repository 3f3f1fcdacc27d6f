// One addon's side of bench/busy.mjs: a process that takes a training step, generates tokens or merges on request.
//   node bench/busy/works.mjs MODEL METHOD DTYPE ROWS LENGTH THREADS
// Answers `{ work }`, one of step, token and merge, with the `seconds` that it took.
import { createInterface } from 'node:readline'
import { AdamW, loadModel } from 'node-mora'
import { packedBatch, textIds } from '../common/batch.mjs'
import { adapterConfig, parseMethod } from '../common/methods.mjs'
import { dtypeOf } from '../common/options.mjs'
import { trainStep } from '../common/train-step.mjs'
import { secondsOf } from '../common/turns.mjs'

const [path, methodName, dtypeName, ...numbers] = process.argv.slice(2)
const [rows, length, threads] = numbers.map(Number)
const [prompt, newTokens, merges] = [32, 16, 5]
const dtype = dtypeOf('dtype', dtypeName)
const likeliest = { temperature: 0, topK: 0, topP: 1, uniform: 0 }

const model = await loadModel(path, { device: 'cpu', dtype, threads })
await model.addAdapter('busy', adapterConfig(parseMethod(methodName)), { seed: 1 })
const optimizer = new AdamW(model.trainableParameters().map(({ parameter }) => parameter))
const ids = await textIds(model.tokenizer, rows, length)
const batch = packedBatch(ids, rows, length)

const works = {
  step: () => secondsOf(model.device, () => trainStep(model, optimizer, batch, 1e-5)),
  async token() {
    const cache = model.createCache(prompt + newTokens)
    let token = await model.nextToken(ids.slice(0, prompt), cache, likeliest)
    const seconds = await secondsOf(model.device, async () => {
      for (let i = 0; i < newTokens; i++) token = await model.nextToken([token], cache, likeliest)
    })
    cache.dispose()
    return seconds / newTokens
  },
  async merge() {
    let seconds = 0
    for (let i = 0; i < merges; i++) {
      seconds += await secondsOf(model.device, () => model.mergeAdapter('busy'))
      await model.unmergeAdapter('busy')
    }
    return seconds / merges
  },
}

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)
say({ threads: model.device.facts().threads })
for await (const line of createInterface({ input: process.stdin }))
  say({ seconds: await works[JSON.parse(line).work]() })
