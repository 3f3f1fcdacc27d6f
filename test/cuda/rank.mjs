/** A rank with a GPU: `node rank.mjs FOLDER WHAT`. What it sees goes to FOLDER/RANK.json. */
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connectRanks, openDevice, Tensor } from '../../dist/index.js'

const [folder, what] = process.argv.slice(2)
// A busy machine may leave a rank without time for seconds; one that fails should be missed soon.
const ranks = await connectRanks({ timeout: what === 'sums' ? 30 : 4 })
const { rank, size } = ranks
const name = await ranks.deviceFor()
const device = openDevice({ device: name })

/** As good as any numbers between 0 and 1. */
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
    for (const counts of [[5, 40_000, 0, 16_384, 7], [1], [33_000, 2]]) {
      const tensors = counts.map(tensorOf)
      const sent = ranks.sumGradients(tensors)
      // What is enqueued afterwards is none of it, and takes memory that others had.
      const beside = Array.from({ length: 20 }, () => Tensor.zeros([1000], { device }))
      await sent
      for (const tensor of tensors) {
        const values = await tensor.data()
        hash.update(values)
        for (const [i, value] of values.entries()) {
          let exact = 0
          for (let of = 0; of < size; of++) exact += broughtBy(of, i)
          farthest = Math.max(farthest, Math.abs(value - exact))
        }
      }
      for (const tensor of [...beside, ...tensors]) tensor.dispose()
    }
    return { device: name, farthest, hash: hash.digest('hex') }
  },
}

/** Once GPUs are connected, the last rank does something else than the others, which wait for its gradients. */
const failing =
  (fault, count = 1000) =>
  async () => {
    const first = tensorOf(1000)
    await ranks.sumGradients([first])
    if (rank === size - 1) await fault()
    return refusal(() => ranks.sumGradients([tensorOf(rank === size - 1 ? count : 1000)]))
  }

const faults = {
  gone: failing(() => process.exit(3)),
  stopped: failing(() => process.kill(process.pid, 'SIGSTOP')),
  gaveUp: failing(() => ranks.abort('no more rows.')),
  /** Its GPU never comes to where the others' wait for it. */
  killed: failing(() => {
    process.env.STUB_NCCL_FAIL = '7@2'
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), 500)
  }),
  differs: failing(() => {}, 999),
  async refused() {
    return refusal(() => ranks.sumGradients([tensorOf(1000)]))
  },
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
