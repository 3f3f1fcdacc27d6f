/** A rank with a GPU: `node rank.mjs FOLDER WHAT [MODEL ROWS]`. Writes its findings to FOLDER/RANK.json. */
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { connectRanks, loadModel, openDevice, Tensor, train } from '../../dist/index.js'

const [folder, what, path, data] = process.argv.slice(2)
// A busy machine may leave a rank without time for seconds, but a failed one should be noticed soon.
const ranks = await connectRanks({ timeout: ['sums', 'whole', 'together'].includes(what) ? 30 : 4 })
const { rank, size } = ranks
const name = await ranks.deviceFor()
const device = openDevice({ device: name })

/** Arbitrary numbers between 0 and 1. */
const broughtBy = (of, i) => Math.fround(((((i + 1) * (of + 1) * 2_654_435_761) >>> 0) % 65_521) / 65_521)
const tensorOf = (count) =>
  Tensor.from(
    Float32Array.from({ length: count }, (_, i) => broughtBy(rank, i)),
    [count],
    { device },
  )

const works = {
  async sums() {
    let farthest = 0
    const hash = createHash('sha256')
    const lists = [[5, 40_000, 0, 16_384, 7], [1], [33_000, 2]].map((counts) => counts.map(tensorOf))
    const sent = lists.map((tensors) => ranks.sumGradients(tensors))
    // Work that is enqueued afterwards is not part of it, and reuses memory that others had.
    const beside = Array.from({ length: 20 }, () => Tensor.zeros([1000], { device }))
    await Promise.all(sent)
    for (const tensors of lists) {
      for (const tensor of tensors) {
        const values = await tensor.data()
        hash.update(values)
        for (const [i, value] of values.entries()) {
          let exact = 0
          for (let of = 0; of < size; of++) exact += broughtBy(of, i)
          farthest = Math.max(farthest, Math.abs(value - exact))
        }
      }
      for (const tensor of tensors) tensor.dispose()
    }
    for (const tensor of beside) tensor.dispose()
    return { device: name, farthest, hash: hash.digest('hex') }
  },
  whole: () => trained({}),
  together: () => trained({ shard: ranks }),
}

/** Three steps of three rows, a row in each pass: so one of two ranks has none in the last. At the second, the last rank is lost. */
async function trained(how, lose = () => {}) {
  const model = await loadModel(path, { device: name, dtype: 'float32', quantised: true, ...how })
  await device.synchronize()
  const { inUse, working, peak } = device.memory()
  const seen = { loaded: inUse - working, peakOfLoading: peak - working, peak: 0, losses: [] }
  const options = { data, method: 'lora', rank: 64, dropout: 0.1, batchSize: 3, microBatchSize: 1, maxSteps: 3, ranks }
  for await (const event of train(model, options)) {
    if (event.type !== 'step') continue
    seen.losses.push(event.loss)
    seen.peak = Math.max(seen.peak, event.memoryBytes - device.memory().working)
    if (event.step === 2 && rank === size - 1) lose()
  }
  const hash = createHash('sha256')
  for (const { parameter } of model.trainableParameters()) hash.update(await parameter.data())
  model.dispose()
  const live = () => device.memory().inUse - device.memory().working
  // Collective operations keep memory until they are done.
  for (let i = 0; i < 200 && live() > 0; i++) await setTimeout(50)
  return { ...seen, hash: hash.digest('hex'), left: live() }
}

/**
 * Once GPUs are connected, the last rank does something other than the rest, which wait for its gradients: those of the first sum
 * where they are late.
 */
const failing =
  (fault, count = 1000) =>
  () =>
    refusal(async () => {
      await ranks.sumGradients([tensorOf(1000)])
      if (rank === size - 1) await fault()
      await ranks.sumGradients([tensorOf(rank === size - 1 ? count : 1000)])
    })

const faults = {
  gone: failing(() => process.exit(3)),
  stopped: failing(() => process.kill(process.pid, 'SIGSTOP')),
  gaveUp: failing(() => ranks.abort('no more rows.')),
  /** Its GPU never reaches the point where the others wait for it. */
  killed: failing(() => killAtGpu()),
  differs: failing(() => {}, 999),
  refusedTogether: () => refusal(() => trained({ shard: ranks })),
  goneTogether: () => refusal(() => trained({ shard: ranks }, () => process.exit(3))),
  killedTogether: () => refusal(() => trained({ shard: ranks }, killAtGpu)),
  async refused() {
    return refusal(() => ranks.sumGradients([tensorOf(1000)]))
  },
}

function killAtGpu() {
  process.env.STUB_NCCL_FAIL = '7@2'
  setTimeout(500).then(() => process.kill(process.pid, 'SIGKILL'))
}

async function refusal(call) {
  try {
    await call()
    return {}
  } catch (error) {
    process.exitCode = 1
    return { code: error.code, message: error.message }
  }
}

const said = await { ...works, ...faults }[what]()
writeFileSync(join(folder, `${rank}.json`), JSON.stringify(said))
if (!process.exitCode) await ranks.close()
