/**
 * Terminates worker threads in the middle of any work of the addon: `node terminations.mjs ROUNDS SEED`. Prints in JSON the
 * device memory in use before and after.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

const dist = (name) => import(new URL(`../../dist/${name}.js`, import.meta.url).href)
const turn = (milliseconds = 0) => new Promise((resolve) => setTimeout(resolve, milliseconds))

if (isMainThread) await terminate()
else work()

async function terminate() {
  const { loadBinary, binaryCandidates } = await dist('native/binary')
  const { randomStream } = await dist('common/random')
  const [rounds, seed] = process.argv.slice(2).map(Number)
  const folder = mkdtempSync(join(tmpdir(), 'mora-terminations-'))
  const file = join(folder, 'weights')
  writeFileSync(file, new Uint8Array(1 << 20))
  const device = loadBinary().openDevice('cpu', 0, 2)
  const path = binaryCandidates().find(existsSync)
  const random = randomStream(seed, 'terminations')
  await device.synchronize()
  const before = device.memory().inUse
  for (let round = 0; round < rounds; round++) {
    const worker = new Worker(new URL(import.meta.url), { workerData: { path, file } })
    const failed = new Promise((_, reject) => worker.once('error', reject))
    await Promise.race([new Promise((resolve) => worker.once('message', resolve)), failed])
    await turn(random.integer(8))
    await worker.terminate()
  }
  await device.synchronize()
  rmSync(folder, { recursive: true })
  console.log(JSON.stringify({ before, after: device.memory().inUse }))
}

/** Keeps as much work pending as possible, and never ends. */
function work() {
  const native = createRequire(import.meta.url)(workerData.path)
  const device = native.openDevice('cpu', 0, 2)
  const file = native.openFile(workerData.file)
  const size = 1 << 16
  const tensor = () => native.empty(device, 'float32', [size])
  const kept = Array.from({ length: 4 }, tensor)
  const [a, b, c] = [tensor(), tensor(), tensor()].map((one) => one.view([256, 256], [256, 1], 0))
  const recording = native.record(() => native.matmul({ a, b, transposeB: true, c }))
  const ignored = () => {}
  const again = () => {
    for (const one of kept) {
      native.fill(one, 1)
      one.read().catch(ignored)
      one.read(new Uint8Array(4 * size)).catch(ignored)
    }
    recording.replay()
    native.fromArray(device, 'float32', [size], new Float32Array(size)).dispose()
    native.fromFile(device, 'float32', [size], file, 0).read().catch(ignored)
    native.svd(new Float32Array(32 * 32).fill(1), 32, 32, true).catch(ignored)
    device.synchronize().catch(ignored)
    try {
      tensor().view([2 ** 40], [1], 0)
    } catch {
      // an error of this thread's own
    }
    setImmediate(again)
  }
  again()
  parentPort.postMessage('working')
}
