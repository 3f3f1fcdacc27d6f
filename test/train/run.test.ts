import { AsyncLocalStorage } from 'node:async_hooks'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { UsageError } from '../../lib/common/errors.js'
import type { TrainInput } from '../../lib/options/index.js'
import type { TrainEvent, TrainResult } from '../../lib/train/events.js'
import type { Run } from '../../lib/train/run.js'
import { trainWith } from '../../lib/train/train.js'
import { expectRejection, useTemporaryFolder } from '../io/temporary.js'
import { TinyModel } from './tiny-model.js'
import { rows, steps, trainTiny, writeRows } from './tiny-run.js'

const folder = useTemporaryFolder()

function optionsOf(changes: Partial<TrainInput> = {}): TrainInput & { output: string } {
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  return { data, output: join(folder(), 'out'), batchSize: 4, maxSteps: 6, ...changes }
}
const checkpoints = (output: string) => readdirSync(join(output, 'checkpoints'))

/** Asynchronous work, and a model that must not compute a loss meanwhile. */
function untrainedDuringWork() {
  let working = false
  const model = new TinyModel({ onPass: () => expect(working).toBe(false) })
  const work = async () => {
    working = true
    await new Promise((resolve) => setTimeout(resolve, 2))
    working = false
  }
  return { model, work }
}

describe('a run', () => {
  it('trains without being iterated', async () => {
    const result = await trainWith(new TinyModel(), optionsOf()).finished
    expect(result).toMatchObject({ steps: 6, stopped: false, peakMemoryBytes: expect.any(Number) })
  })

  it('ends its events with the result', async () => {
    const { events, result } = await trainTiny(optionsOf())
    expect(events.at(-1)).toEqual({ type: 'end', ...result })
    expect(steps({ events }).map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6])
    expect(steps({ events }).map(({ epoch }) => epoch)).toEqual([4, 8, 12, 16, 20, 24].map((row) => row / 13))
  })

  it('reports the peak memory of each step and of the run', async () => {
    let peak = 0
    const model = new TinyModel({
      onPass: (passes) => {
        peak = Math.max(peak, 1100 - 100 * passes)
      },
    })
    const memory = { ...model.device.memory(), inUse: 10 }
    using _ = vi.spyOn(model.device, 'memory').mockImplementation(() => ({ ...memory, peak }))
    using __ = vi.spyOn(model.device, 'resetPeak').mockImplementation(() => {
      peak = 10
    })
    const seen: number[] = []
    const run = trainWith(model, optionsOf({ maxSteps: 3 }))
    for await (const event of run) if (event.type === 'step') seen.push(event.memoryBytes)
    expect(seen).toEqual([1000, 900, 800])
    expect(await run.finished).toMatchObject({ peakMemoryBytes: 1000 })
  })

  it('frees the memory of the setup before the first step, and that of steps before it writes', async () => {
    const order: string[] = []
    const model = new TinyModel({ onPass: () => void order.push('pass') })
    using _ = vi.spyOn(model.device, 'trim').mockImplementation(() => void order.push('trim'))
    const save = model.saveAdapter.bind(model)
    model.saveAdapter = (...call: Parameters<typeof save>) => {
      order.push('save')
      return save(...call)
    }
    await trainWith(model, optionsOf({ maxSteps: 2 })).finished
    expect(order.slice(0, 2)).toEqual(['trim', 'pass'])
    const lastPass = order.lastIndexOf('pass')
    expect(order.slice(0, lastPass).filter((what) => what === 'trim')).toHaveLength(1)
    expect(order.slice(lastPass + 1)).toEqual(['trim', 'save', 'trim', 'save'])
  })

  it('calls onEvent with every event, waits for it, and fails with what it throws', async () => {
    const seen: TrainEvent[] = []
    const { model, work } = untrainedDuringWork()
    const onEvent = async (event: TrainEvent) => {
      await work()
      seen.push(event)
    }
    const read: TrainEvent[] = []
    for await (const event of trainWith(model, { ...optionsOf(), onEvent })) read.push(event)
    expect(read.length).toBeGreaterThan(6)
    expect(seen).toEqual(read)
    const failing = trainWith(new TinyModel(), {
      ...optionsOf({ overwrite: true }),
      onEvent: ({ type }) => {
        if (type === 'step') throw new Error('the metrics server is gone')
      },
    })
    await expect(failing.finished).rejects.toThrow('the metrics server is gone')
  })

  it.each([
    ['at once', (run: Run) => void run.stop()],
    ['and awaited', async (run: Run) => expect(await run.stop()).toMatchObject({ steps: 2 })],
    [
      'and its end awaited',
      async (run: Run) => {
        void run.stop()
        expect(await run.finished).toMatchObject({ steps: 2 })
      },
    ],
  ])('can be stopped from onEvent, %s', async (_, stop) => {
    let calls = 0
    const onEvent = async (event: TrainEvent) => {
      if (event.type === 'step' && event.step === 2) await stop(run)
      calls++
    }
    const run: Run = trainWith(new TinyModel(), { ...optionsOf(), rank: 4, onEvent })
    expect(await run.finished).toMatchObject({ steps: 2, stopped: true })
    await new Promise(setImmediate)
    // A notice about the data, two steps, a checkpoint and the end.
    expect(calls).toBe(5)
  })

  it('can be awaited in onEvent and in the loop', async () => {
    const results: TrainResult[] = []
    const onEvent = async ({ type }: TrainEvent) => {
      if (type === 'end') results.push(await run.finished)
    }
    const run: Run = trainWith(new TinyModel(), { ...optionsOf(), onEvent })
    for await (const { type } of run) if (type === 'end') results.push(await run.finished)
    await new Promise(setImmediate)
    expect(results.map(({ steps }) => steps)).toEqual([6, 6])
  })

  it('leaves nothing that later promises carry', async () => {
    using used = vi.spyOn(AsyncLocalStorage.prototype, 'run')
    using disabled = vi.spyOn(AsyncLocalStorage.prototype, 'disable')
    await trainWith(new TinyModel(), { ...optionsOf({ maxSteps: 1 }), onEvent: () => {} }).finished
    const stores = new Set(used.mock.contexts)
    expect(stores.size).toBeGreaterThan(1)
    expect(new Set(disabled.mock.contexts)).toEqual(stores)
  })

  it('waits for every other call of onEvent when it is stopped from elsewhere', async () => {
    let pending = 0
    const onEvent = async () => {
      expect(++pending).toBe(1)
      await new Promise((resolve) => setTimeout(resolve, 5))
      pending--
    }
    const run: Run = trainWith(new TinyModel(), { ...optionsOf(), onEvent })
    setTimeout(() => void run.stop(), 8)
    expect(await run.finished).toMatchObject({ stopped: true })
    expect(pending).toBe(0)
  })

  it('fails with what onEvent throws after it stopped the run', async () => {
    const onEvent = async ({ type }: TrainEvent) => {
      if (type !== 'step') return
      void run.stop()
      throw new Error('the metrics server is gone')
    }
    const run: Run = trainWith(new TinyModel(), { ...optionsOf(), onEvent })
    await expect(run.finished).rejects.toThrow('the metrics server is gone')
  })

  it('does not train while the loop body runs', async () => {
    const { model, work } = untrainedDuringWork()
    for await (const _ of trainWith(model, optionsOf())) await work()
    expect(model.seen.length).toBe(6)
  })

  it('stops after the current step, with a checkpoint and the adapter', async () => {
    const options = optionsOf()
    const { result } = await trainTiny(options, {}, (event, run) => {
      if (event.type === 'step' && event.step === 2) void run.stop()
    })
    expect(result).toMatchObject({ steps: 2, stopped: true })
    expect(checkpoints(options.output)).toEqual(['step-000002'])
    expect(readdirSync(options.output)).toContain('adapter_model.safetensors')
  })

  it('can be stopped and awaited from within the loop', async () => {
    const { result } = await trainTiny(optionsOf(), {}, async (event, run) => {
      if (event.type === 'step' && event.step === 3) expect((await run.stop()).steps).toBe(3)
    })
    expect(result.stopped).toBe(true)
  })

  it('stops when its reader leaves the loop', async () => {
    const options = optionsOf()
    const run = trainWith(new TinyModel(), options)
    for await (const event of run) if (event.type === 'step' && event.step === 2) break
    expect(await run.finished).toMatchObject({ steps: 2, stopped: true })
    expect(checkpoints(options.output)).toEqual(['step-000002'])
  })

  it('has ended and is saved when its reader has left the loop', async () => {
    const options = optionsOf()
    for await (const event of trainWith(new TinyModel(), options)) if (event.type === 'step') break
    expect(checkpoints(options.output)).toEqual(['step-000001'])
    const own = new Error('my own')
    const failing = async () => {
      const again = { ...options, overwrite: true }
      for await (const event of trainWith(new TinyModel(), again)) if (event.type === 'step') throw own
    }
    await expect(failing()).rejects.toBe(own)
    expect(checkpoints(options.output)).toEqual(['step-000001'])
  })

  it('tells an error of its end to the reader who left, who hears of their own first', async () => {
    const leave = async (body: () => void) => {
      const model = new TinyModel()
      model.saveAdapter = () => Promise.reject(new Error('the disk is full'))
      const run = trainWith(model, optionsOf({ overwrite: true }))
      for await (const { type } of run) {
        if (type !== 'step') continue
        body()
        break
      }
    }
    await expect(leave(() => {})).rejects.toThrow('the disk is full')
    const own = new Error('my own')
    const throwing = () => {
      throw own
    }
    await expect(leave(throwing)).rejects.toBe(own)
  })

  it('starts once options, data and resume are accepted', async () => {
    const order: string[] = []
    const run = trainWith(new TinyModel(), {
      ...optionsOf({ maxSteps: 2 }),
      onEvent: ({ type }) => void order.push(type),
    })
    await run.started
    expect(order).not.toContain('step')
    await run.finished
    expect(order.at(-1)).toBe('end')
    await run.started
  })

  it.each<[string, Partial<TrainInput>, RegExp]>([
    ['data', { data: 'absent.jsonl' }, /absent\.jsonl/],
    ['rows', { data: [{ nothing: 1 }] as never }, /nothing/],
  ])('does not start with wrong %s, and tells only those who asked', async (_, changes, message) => {
    const unhandled: unknown[] = []
    const listen = (error: unknown) => unhandled.push(error)
    process.on('unhandledRejection', listen)
    try {
      const run = trainWith(new TinyModel(), optionsOf(changes))
      await expect(run.started).rejects.toThrow(message)
      await new Promise((resolve) => setTimeout(resolve, 5))
      expect(unhandled).toEqual([])
      await expect(run.finished).rejects.toThrow(message)
    } finally {
      process.off('unhandledRejection', listen)
    }
  })

  it('does not start where the run to resume was another', async () => {
    const options = optionsOf()
    await trainWith(new TinyModel(), options).finished
    const resumed = trainWith(new TinyModel(), { ...options, resume: true, batchSize: 2 })
    await expect(resumed.started).rejects.toThrow(/had batchSize 4, but now it is 2/)
  })

  it('ends with its block, and hides no error', async () => {
    const options = optionsOf()
    {
      await using run = trainWith(new TinyModel(), options)
      await run.started
    }
    const [checkpoint] = checkpoints(options.output)
    expect(checkpoint ?? 'step-000000').not.toBe('step-000006')
    const own = new Error('my own')
    const failing = async (body: (run: Run) => unknown) => {
      await using run = trainWith(new TinyModel(), optionsOf({ data: 'absent.jsonl', overwrite: true }))
      await body(run)
    }
    await expect(failing(() => {})).rejects.toThrow(/absent\.jsonl/)
    await expect(failing((run) => run.started)).rejects.toThrow(/absent\.jsonl/)
    await expect(failing((run) => run.finished)).rejects.toThrow(/absent\.jsonl/)
    const ofTheirOwn = async (run: Run) => {
      await run.started.catch(() => {
        throw own
      })
    }
    await expect(failing(ofTheirOwn)).rejects.toBe(own)
  })

  it('saves from within the loop', async () => {
    const options = optionsOf()
    const saved: string[] = []
    await trainTiny(options, {}, async (event, run) => {
      if (event.type === 'step' && event.step % 2 === 1) saved.push(await run.save())
    })
    expect(saved).toEqual([1, 3, 5].map((step) => join(options.output, 'checkpoints', `step-00000${step}`)))
    expect(checkpoints(options.output)).toEqual([1, 3, 5, 6].map((step) => `step-00000${step}`))
  })

  it('pauses between steps, saves meanwhile, and goes on', async () => {
    const options = optionsOf()
    const model = new TinyModel()
    const run = trainWith(model, options)
    run.pause()
    const saved = await run.save()
    expect(saved).toMatch(/step-000000$/)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(model.seen.length).toBe(0)
    run.resume()
    expect((await run.finished).steps).toBe(6)
  })

  it('can be stopped while it is paused', async () => {
    const run = trainWith(new TinyModel(), optionsOf())
    run.pause()
    expect(await run.stop()).toMatchObject({ steps: 0, stopped: true })
  })

  it('has one reader', async () => {
    const run = trainWith(new TinyModel(), optionsOf())
    run[Symbol.asyncIterator]()
    expect(() => run[Symbol.asyncIterator]()).toThrow(/one reader/)
    await run.stop()
  })

  it('fails in its loop and in finished alike', async () => {
    const run = trainWith(new TinyModel(), optionsOf({ data: 'absent.jsonl' }))
    const read = (async () => {
      for await (const _ of run);
    })()
    await expect(read).rejects.toThrow(/absent\.jsonl/)
    await expect(run.finished).rejects.toThrow(/absent\.jsonl/)
  })

  it('refuses wrong options at once', () => {
    const start = (options: object) => () => trainWith(new TinyModel(), options as TrainInput)
    expect(start({})).toThrow(/Missing data/)
    expect(start({ data: 'a', learningRat: 1 })).toThrow(/learningRat.*did you mean learningRate/)
    expect(start({ data: 'a', learningRate: -1 })).toThrow(UsageError)
    expect(start({ data: 'a', saveEvery: 3 })).toThrow(/saveEvery needs output/)
    expect(start({ data: 'a', output: 'o', resume: true, overwrite: true })).toThrow(/resume.*overwrite/)
  })

  it('cannot save without an output folder', async () => {
    const { output: _, ...options } = optionsOf()
    const run = trainWith(new TinyModel(), options)
    await expectRejection(run.save(), 'missing-option', /output/)
    expect((await run.finished).output).toBeNull()
  })
})
