/** Scenarios for a process or a worker thread with the addon alone: `node child.mjs BINARY SCENARIO`. */
import { createRequire } from 'node:module'
import { isMainThread, parentPort, workerData } from 'node:worker_threads'

const [binary, scenario] = isMainThread ? process.argv.slice(2) : [workerData.binary, workerData.scenario]
const native = createRequire(import.meta.url)(binary)
const device = native.openDevice('cpu', 0, 2)

const say = (value) => (isMainThread ? console.log(JSON.stringify(value)) : parentPort.postMessage(value))
const turn = () => new Promise((resolve) => setImmediate(resolve))

function filled(shape, value) {
  const tensor = native.empty(device, 'float32', shape)
  native.fill(tensor, value)
  return tensor
}

/** c [n, n] whose elements are n · value. */
function product(n, value) {
  const [a, b, c] = [filled([n, n], value), filled([n, n], 1), native.empty(device, 'float32', [n, n])]
  native.matmul({ a, b, c })
  return c
}

/** Seconds of work (with the default count), enqueued at once. */
function enqueueMuch(count = 400) {
  for (let i = 0; i < count; i++) product(512, i)
}

const scenarios = {
  async compute() {
    const results = []
    for (let i = 1; i <= 20; i++) {
      const c = product(64, i)
      results.push((await c.read())[64 * 64 - 1])
      c.dispose()
    }
    say(results)
  },

  /** Never ends by itself. */
  async endless() {
    for (let i = 0; ; i++) {
      product(256, i)
      if (i % 50 === 49) await product(8, 1).read()
      if (i === 99) say('running')
    }
  },

  /** MiB that return to the system out of 64 MiB in which scattered pieces are still in use. */
  async trims() {
    let pieces = Array.from({ length: 2 ** 15 }, () => new Uint8Array(2 ** 11))
    pieces = pieces.filter((_, i) => i % 64 === 0)
    for (let i = 0; i < 4; i++) {
      globalThis.gc()
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    const before = process.memoryUsage().rss
    device.trim()
    await device.synchronize()
    say({ kept: pieces.length, givenBack: (before - process.memoryUsage().rss) / 2 ** 20 })
  },

  exit() {
    enqueueMuch()
    product(512, 1)
      .read()
      .then(() => say('too late'))
    process.exit(3)
  },

  throws() {
    enqueueMuch()
    throw new RangeError('stop here')
  },

  /** Work that nobody awaits does not keep the process alive. */
  end() {
    enqueueMuch()
    say('end')
  },

  /** An awaited promise does. */
  async awaits() {
    const c = product(128, 2)
    await device.synchronize()
    say((await c.read())[0])
  },

  async droppedEarly() {
    const c = (() => {
      enqueueMuch(20)
      const early = product(300, 2)
      for (let i = 0; i < 50; i++) product(64, i).view([1], [1], 5)
      return early
    })()
    globalThis.gc()
    await turn()
    const value = (await c.read())[0]
    c.dispose()
    for (let i = 0; i < 5; i++) {
      globalThis.gc()
      await turn()
    }
    await device.synchronize()
    say({ value, inUse: device.memory().inUse })
  },

  /** Forgotten tensors are collected without an explicit call, because the collector knows their size. */
  async forgotten() {
    let highest = 0
    for (let i = 0; i < 100; i++) {
      filled([1 << 22], i)
      if (i % 10 === 9) {
        await device.synchronize()
        await turn()
      }
      highest = Math.max(highest, device.memory().inUse)
    }
    say({ highest })
  },
}

await scenarios[scenario]()
