// A process of bench/ranks.mjs: it trains alone or as a rank, a step for each line that it reads, and writes a line of JSON each.
// The only argument is JSON: {model, adapter, tokens, dtype, rows, length, threads, learningRate}. Rows are dealt out by rank.
// Times are seconds of a clock that all processes of a machine share.
import { createInterface } from 'node:readline'
import { AdamW, connectRanks, loadModel } from 'node-mora'
import { batchOfRows, packedBatch, readIds } from '../common/batch.mjs'
import { optimizerStep, RankSync, runObjective, sft } from '../common/internals.mjs'
import { now, Watch } from './watch.mjs'

const { learningRate, dtype, rows, length, threads, ...options } = JSON.parse(process.argv[2])
const ranks = await connectRanks()
const { rank, size } = ranks
const model = await loadModel(options.model, { device: 'cpu', dtype, threads })
await model.loadAdapter(options.adapter)
const parameters = model.trainableParameters().map(({ parameter }) => parameter)
const optimizer = new AdamW(parameters)

const ids = readIds(options.tokens)
const own = Array.from({ length: rows }, (_, row) => row).filter((row) => row % size === rank)
const batch = batchOfRows(ids, own, length)
const smallLength = Math.min(64, length)
const small = packedBatch(ids, 1, smallLength)

const trained = { passes: model, parameters, optimizer, signal: undefined }
const watch = new Watch(model.device)
const watched = { ...trained, objective: watch.objective }

/** A step as `mora train` takes it, from the agreement of ranks on. */
async function stepOf(session, taken) {
  await session.sync.agree()
  const report = await optimizerStep(session, [taken], { learningRate, maxGradNorm: 1 })
  return { loss: report?.sums.loss, gradNorm: report?.gradNorm }
}

/** The same without any code of ranks. */
async function plainStep(taken) {
  const { loss, targetTokens } = await model.lossAsync(taken, { gradients: true })
  await loss.backward()
  const sum = await loss.item()
  loss.dispose()
  const norm = optimizer.step({ learningRate, scaleGradients: 1 / targetTokens, maxGradNorm: 1 })
  const gradNorm = await norm.item()
  norm.dispose()
  return { loss: sum / targetTokens, gradNorm }
}

const unwatched = { ...trained, objective: runObjective(sft()), sync: new RankSync(ranks) }
const alone = { ...watched, sync: new RankSync() }
const together = { ...watched, sync: new RankSync(watch.ranks(ranks)) }
const hows = {
  plain: plainStep,
  unwatched: (taken) => stepOf(unwatched, taken),
  alone: (taken) => stepOf(alone, taken),
  ranks: (taken) => stepOf(together, taken),
}

const tasks = {
  async step({ how, isSmall = false }) {
    watch.begin()
    const [begin, cpu] = [now(), process.cpuUsage()]
    const values = await hows[how](isSmall ? small : batch)
    const end = now()
    const { user, system } = process.cpuUsage(cpu)
    await model.device.synchronize()
    return { ...values, begin, end, seconds: end - begin, cpuSeconds: (user + system) / 1e6, ...watch.seen }
  },

  /** Times of sums of `count` float32 numbers; for 0, of gathering a few bytes, as ranks do when they synchronise. */
  async sums({ elements, times }) {
    const values = new Float32Array(elements).fill(1e-3)
    const gradient = { shape: [elements], data: async () => values, assign: () => {} }
    const seconds = []
    for (let i = 0; i < times; i++) {
      await ranks.barrier()
      const start = now()
      await (elements > 0 ? ranks.sumGradients([gradient]) : ranks.gather(new Uint8Array(40)))
      seconds.push(now() - start)
    }
    return { seconds }
  },
}

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)
say({
  rank,
  size,
  threads: model.device.facts().threads,
  layers: model.config.layers,
  smallTokens: smallLength,
  trained: parameters.map(({ name, elements }) => ({ name, bytes: 4 * elements })),
})
for await (const line of createInterface({ input: process.stdin })) {
  const { task, ...request } = JSON.parse(line)
  say(await tasks[task](request))
}
await ranks.close()
