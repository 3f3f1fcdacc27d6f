/** The addon in several threads, and at every kind of process end. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import { native } from '../../lib/native/addon.js'
import { binaryCandidates } from '../../lib/native/binary.js'
import { liveBytes } from '../live-bytes.js'
import { lack, needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'

const isGlibc = 'glibcVersionRuntime' in (process.report.getReport() as { header: object }).header
const binary = binaryCandidates().find(existsSync)!
const child = fileURLToPath(new URL('child.mjs', import.meta.url))

interface Ending {
  code: number | null
  signal: NodeJS.Signals | null
  output: string
  errors: string
}

function run(scenario: string, ...nodeOptions: string[]): Promise<Ending> {
  const started = spawn(process.execPath, [...nodeOptions, child, binary, scenario], { timeout: 60_000 })
  let [output, errors] = ['', '']
  started.stdout.on('data', (data) => (output += data))
  started.stderr.on('data', (data) => (errors += data))
  return new Promise((resolve) => started.on('close', (code, signal) => resolve({ code, signal, output, errors })))
}

const startWorker = (scenario: string): Worker => new Worker(child, { workerData: { binary, scenario } })

const firstMessage = (worker: Worker): Promise<unknown> =>
  new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))

const ended = (worker: Worker): Promise<number> => new Promise((resolve) => worker.once('exit', resolve))

const products = Array.from({ length: 20 }, (_, i) => 64 * (i + 1))

describe('worker threads', () => {
  test('use the device at the same time, each with right results', async () => {
    const workers = Array.from({ length: 4 }, () => startWorker('compute'))
    const endings = workers.map(ended)
    expect(await Promise.all(workers.map(firstMessage))).toEqual(workers.map(() => products))
    expect(await Promise.all(endings)).toEqual([0, 0, 0, 0])
  })

  test('terminated in the middle of work leave the device to others, and their memory', async () => {
    const device = testDevice()
    const before = device.memory().inUse
    for (let round = 0; round < 3; round++) {
      const [doomed, other] = [startWorker('endless'), startWorker('compute')]
      const [results, ending] = [firstMessage(other), ended(other)]
      await firstMessage(doomed)
      expect(await doomed.terminate()).toBe(1)
      expect(await results).toEqual(products)
      const x = native.fromArray(device, 'float32', [2], Float32Array.of(1, 2))
      expect([...(await x.read())]).toEqual([1, 2])
      x.dispose()
      expect(await ending).toBe(0)
    }
    await device.synchronize()
    expect(liveBytes(device), 'bytes in use after the workers').toBe(before)
  })
})

describe('a process ends', () => {
  test('by process.exit while work is running, with its code', async () => {
    expect(await run('exit')).toEqual({ code: 3, signal: null, output: '', errors: '' })
  })

  test('by an uncaught error while work is running, with the error', async () => {
    const { code, signal, errors } = await run('throws')
    expect({ code, signal }).toEqual({ code: 1, signal: null })
    expect(errors).toContain('RangeError: stop here')
  })

  test('by itself while work that nobody awaits is running', async () => {
    expect(await run('end')).toEqual({ code: 0, signal: null, output: '"end"\n', errors: '' })
  })

  test('after the work that it awaits', async () => {
    expect(await run('awaits')).toEqual({ code: 0, signal: null, output: '256\n', errors: '' })
  })
})

// Other C libraries return free memory by themselves, or never.
needing(lack('glibc', isGlibc)).test(
  'trimming gives back what a process has freed between pieces that it still has',
  async () => {
    const { code, output } = await run('trims', '--expose-gc')
    expect(code).toBe(0)
    expect(JSON.parse(output)).toEqual({ kept: 512, givenBack: expect.any(Number) })
    expect(JSON.parse(output).givenBack).toBeGreaterThan(32)
  },
)

describe('the garbage collector', () => {
  test('frees dropped tensors, which enqueued work can still read', async () => {
    const { code, output, errors } = await run('droppedEarly', '--expose-gc')
    expect({ code, errors }).toEqual({ code: 0, errors: '' })
    expect(JSON.parse(output)).toEqual({ value: 600, inUse: 0 })
  })

  test('finds forgotten tensors in time', async () => {
    const { code, output } = await run('forgotten')
    expect(code).toBe(0)
    // 100 tensors of 16 MiB were made.
    expect(JSON.parse(output).highest).toBeLessThan(50 * 2 ** 24)
  })
})
