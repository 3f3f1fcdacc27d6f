/**
 * A rank of a job: `node job.mjs FOLDER WHAT`. Writes its findings to FOLDER/RANK.json, since the outputs of ranks mix.
 */
import { appendFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
// Alone: ranks that only exchange numbers begin in a quarter of the time.
import { connectRanks } from '../../dist/ranks/connect-ranks.js'

const [folder, what, timeout = '30'] = process.argv.slice(2)
const ranks = await connectRanks({ timeout: Number(timeout) })
const { rank, size, localRank, localSize, threads } = ranks

/** A rank's data: arbitrary numbers between 0 and 1. */
const broughtBy = (of, i) => Math.fround(((((i + 1) * (of + 1) * 2_654_435_761) >>> 0) % 65_521) / 65_521)

function valuesOf(of, count) {
  const values = new Float32Array(count)
  for (let i = 0; i < count; i++) values[i] = broughtBy(of, i)
  return values
}

/** A gradient as in training. */
function gradientOf(values) {
  let held = values
  return { shape: [held.length], data: async () => held, assign: (next) => (held = next.slice()) }
}

/** KiB of the C library's code that differ from its file, and whether a handler for illegal instructions is installed. */
function doneToProcess() {
  const code = readFileSync('/proc/self/smaps', 'utf8').matchAll(
    / r.xp .*\/libc\.so\.6\n(?:\w+:.*\n)*?Private_Dirty: +(\d+) kB/g,
  )
  const caught = /SigCgt:\s+([\da-f]+)/.exec(readFileSync('/proc/self/status', 'utf8'))
  const SIGILL = 4
  const rewritten = [...code].reduce((sum, [, size]) => sum + Number(size), 0)
  return { rewritten, catchesFaults: Boolean((BigInt(`0x${caught[1]}`) >> BigInt(SIGILL - 1)) & 1n) }
}

/**
 * Memory of this process with its share of mappings of others; the share and the copies of memory that ranks share; and named
 * shared memory.
 */
function proportionalBytes() {
  const bytesOf = (text, name) => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)[1])
  const smaps = readFileSync('/proc/self/smaps', 'utf8')
  const maps = smaps.match(/^.* \/memfd:mora .*\n(?:\w+:.*\n)*/gm) ?? []
  const sumOf = (name) => maps.reduce((sum, map) => sum + bytesOf(map, name), 0)
  const all = bytesOf(readFileSync('/proc/self/smaps_rollup', 'utf8'), 'Pss')
  return { all, shared: sumOf('Pss'), copied: sumOf('Private_Dirty'), named: smaps.match(/\/dev\/shm\/.*/g) ?? [] }
}

const works = {
  async collectives() {
    const sum = await ranks.sum(Float64Array.of(1, rank, rank / 3))
    const counts = [5, 1_100_000, 0, 600_000, 7]
    const gradients = counts.map((count) => gradientOf(valuesOf(rank, count)))
    await ranks.sumGradients(gradients)
    const hash = await hashOf(gradients)
    let farthest = 0
    for (const gradient of gradients) {
      const values = await gradient.data()
      for (let i = 0; i < values.length; i += values.length > 10 ? 97 : 1) {
        let exact = 0
        for (let of = 0; of < size; of++) exact += broughtBy(of, i)
        farthest = Math.max(farthest, Math.abs(values[i] - exact))
      }
    }
    const tensors = await sumsOfTensors(counts)
    const bytes = await ranks.broadcast(Uint8Array.of(rank, 7), size - 1)
    const gathered = await ranks.gather(Uint8Array.of(rank, 9))
    await ranks.barrier()
    return {
      rank,
      size,
      localRank,
      localSize,
      threads,
      library: ranks.library,
      sum: [...sum],
      farthest,
      hash,
      tensors,
      bytes: [...bytes],
      gathered: gathered.map((of) => [...of]),
      done: doneToProcess(),
    }
  },

  /** Trains a model that the ranks hold together; where a step is given, the last rank ends after it. */
  async together() {
    const [, , , , , model, rows, last] = process.argv
    const { loadModel, openDevice, train } = await import('../../dist/index.js')
    const device = openDevice({ device: 'cpu', threads: 1 })
    const loaded = await loadModel(model, { device: 'cpu', threads: 1, dtype: 'float32', shard: ranks })
    const { peak, inUse } = device.memory()
    const options = { data: rows, method: 'lora', rank: 2, batchSize: 4, maxSteps: 6, microBatchSize: 1, ranks }
    const run = train(loaded, options)
    return await refusal(async () => {
      for await (const event of run) {
        if (event.type === 'step' && event.step === Number(last) && rank === size - 1) process.exit(3)
      }
      await run.finished
      loaded.dispose()
    }).then((refused) => ({ peak, inUse, ...refused }))
  },

  /** Trains a model that the ranks of this machine share; where a step is given, the last rank is killed after it. */
  async shared() {
    const [, , , , , model, rows, last] = process.argv
    const { loadModel, train } = await import('../../dist/index.js')
    const start = proportionalBytes().all
    const options = { device: 'cpu', threads: 1, dtype: 'float32' }
    const loaded = await loadModel(model, { ...options, ranks })
    const training = { data: rows, method: 'lora', rank: 2, batchSize: 2 * size, maxSteps: 3, ranks, seed: 1 }
    const losses = []
    return await refusal(async () => {
      for await (const event of train(loaded, training)) {
        if (event.type === 'step') losses.push(event.loss)
        if (event.type === 'step' && event.step === Number(last) && rank === size - 1)
          process.kill(process.pid, 'SIGKILL')
      }
      loaded.device.trim()
      await loaded.device.synchronize()
      await ranks.barrier()
    }).then(async (refused) => {
      const { all, ...others } = proportionalBytes()
      if (!refused.name) await ranks.barrier()
      return { isShared: loaded.isShared, losses, all: all - start, ...others, ...refused }
    })
  },

  /** The last rank computes for longer than the time limit of a silent rank. */
  async slow() {
    const end = Date.now() + (rank === size - 1 ? 3000 : 0)
    while (Date.now() < end);
    return { sum: [...(await ranks.sum(Float64Array.of(1)))] }
  },

  stopped: () => lostAfterMeeting(() => process.kill(process.pid, 'SIGSTOP')),

  /** Runs until the test cuts the connection. */
  async parted() {
    await ranks.barrier()
    writeFileSync(join(folder, 'ready'), '')
    return refusal(async () => {
      for (;;) await ranks.barrier()
    })
  },

  gone: () => lostAfterMeeting(() => process.exit(3)),

  gaveUp: () => lostAfterMeeting(() => ranks.abort('no more rows.')),

  /** Called while the others wait in it already. */
  async differs() {
    const late = rank === size - 1
    if (late) await new Promise((resolve) => setTimeout(resolve, 200))
    const count = late ? 2 : 3
    const sum = await ranks.sum(new Float64Array(count)).catch(({ code }) => code)
    return { ...(await refusal(() => ranks.sumGradients([gradientOf(new Float32Array(count))]))), sum }
  },
}

/** What ranks see if the last one does this once it is connected, which may be before the others are. */
async function lostAfterMeeting(act) {
  return refusal(async () => {
    await ranks.barrier()
    if (rank === size - 1) act()
    await ranks.barrier()
  })
}

async function refusal(call) {
  try {
    await call()
    return {}
  } catch (error) {
    process.exitCode = 1
    return {
      name: error.name,
      code: error.code,
      message: error.message,
      again: await ranks.barrier().catch((e) => e.message),
    }
  }
}

/** The hash of the same gradients as tensors, whose sums have begun before what overwrites their sources is enqueued. */
async function sumsOfTensors(counts) {
  const { openDevice, Tensor } = await import('../../dist/index.js')
  const device = openDevice({ device: 'cpu', threads: 1 })
  const sources = counts.map((count) => Tensor.from(valuesOf(rank, count), [count], { device }))
  const gradients = sources.map((source) => Tensor.empty(source.shape, { device }))
  for (const [i, gradient] of gradients.entries()) gradient.copyFrom(sources[i])
  const sent = [ranks.sumGradients(gradients), ranks.sumGradients([gradients[2]])]
  for (const source of sources) source.assign(new Float32Array(source.elements))
  await Promise.all(sent)
  return hashOf(gradients)
}

async function hashOf(gradients) {
  const { createHash } = await import('node:crypto')
  const hash = createHash('sha256')
  for (const gradient of gradients) hash.update(await gradient.data())
  return hash.digest('hex')
}

appendFileSync(join(folder, 'pids'), `${process.pid}\n`)
const seen = await works[what]()
// A launcher may end the ranks that are left once one has failed.
writeFileSync(join(folder, `${rank}.part`), JSON.stringify(seen))
renameSync(join(folder, `${rank}.part`), join(folder, `${rank}.json`))
if (!process.exitCode) await ranks.close()
