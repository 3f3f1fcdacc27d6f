import { getEventListeners } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import type { TrainInput } from '../../lib/options/index.js'
import type { TrainEvent } from '../../lib/train/events.js'
import { meanLoss } from '../../lib/train/index.js'
import type { Run } from '../../lib/train/run.js'
import { trainWith } from '../../lib/train/train.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { TinyModel } from './tiny-model.js'
import { rows, writeRows } from './tiny-run.js'

const folder = useTemporaryFolder()
const REASON = new Error('enough')

function optionsOf(name: string, changes: Partial<TrainInput> = {}): TrainInput & { output: string } {
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  const rate = { learningRate: 0.05, seed: 7, dropout: 0.2 }
  return { data, output: join(folder(), name), batchSize: 4, maxSteps: 6, ...rate, ...changes }
}

interface Aborted {
  model: TinyModel
  events: TrainEvent[]
  thrown: unknown
}

/** A run whose signal is aborted at the first matching event. */
async function abortedAt(
  options: TrainInput,
  isTheOne: (event: TrainEvent, run: Run) => boolean,
  model = new TinyModel(),
): Promise<Aborted> {
  const controller = new AbortController()
  const run = trainWith(model, { ...options, signal: controller.signal })
  const events: TrainEvent[] = []
  const read = async () => {
    for await (const event of run) {
      events.push(event)
      if (isTheOne(event, run)) controller.abort(REASON)
    }
  }
  const thrown = await read().catch((error: unknown) => error)
  if (thrown !== undefined) expect(await run.finished.catch((error: unknown) => error)).toBe(thrown)
  expect(getEventListeners(controller.signal, 'abort')).toEqual([])
  return { model, events, thrown }
}

const isStep = (step: number) => (event: TrainEvent) => event.type === 'step' && event.step === step
const stepsOf = (events: readonly TrainEvent[]) => events.flatMap((one) => (one.type === 'step' ? [one.step] : []))
const checkpointsOf = (output: string) => readdirSync(join(output, 'checkpoints'))
const adapterOf = (output: string) => readFileSync(join(output, 'adapter_model.safetensors')).toString('hex')
const bitsOf = (model: TinyModel) => model.values().map((values) => Buffer.from(values.buffer).toString('hex'))

async function wholeRun(options: TrainInput): Promise<TinyModel> {
  const model = new TinyModel()
  await trainWith(model, options).finished
  return model
}

/** A run whose signal is aborted in the forward pass with this number, from 1. */
async function abortedIn(options: TrainInput, pass: number) {
  const controller = new AbortController()
  const model = new TinyModel({ onPass: (passes) => void (passes === pass && controller.abort(REASON)) })
  const run = trainWith(model, { ...options, signal: controller.signal })
  const events: TrainEvent[] = []
  const read = async () => {
    for await (const event of run) events.push(event)
  }
  await expect(read()).rejects.toBe(REASON)
  return { model, events }
}

describe('a run whose signal is aborted', () => {
  it('saves what is done, rejects with the reason, and can be resumed bit for bit', async () => {
    const whole = await wholeRun(optionsOf('whole'))
    const options = optionsOf('out')
    const { events, thrown } = await abortedAt(options, isStep(3))
    expect(thrown).toBe(REASON)
    expect(stepsOf(events)).toEqual([1, 2, 3])
    expect(events.at(-1)).toMatchObject({ type: 'checkpoint', step: 3 })
    expect(checkpointsOf(options.output)).toEqual(['step-000003'])
    expect(existsSync(join(options.output, 'adapter_model.safetensors'))).toBe(true)
    expect(existsSync(join(options.output, '.lock'))).toBe(false)
    expect(bitsOf(await wholeRun({ ...options, resume: true }))).toEqual(bitsOf(whole))
    expect(adapterOf(options.output)).toBe(adapterOf(join(folder(), 'whole')))
  })

  it('rejects with an AbortError where no reason is given', async () => {
    const controller = new AbortController()
    const run = trainWith(new TinyModel(), { ...optionsOf('out'), signal: controller.signal })
    controller.abort()
    await expect(run.finished).rejects.toMatchObject({ name: 'AbortError' })
  })

  it('drops the current step between two forward passes', async () => {
    const whole = await wholeRun(optionsOf('whole', { microBatchSize: 1 }))
    const options = optionsOf('out', { microBatchSize: 1 })
    // Four passes a step: the tenth is the second of the third step.
    const { model, events } = await abortedIn(options, 10)
    expect(stepsOf(events)).toEqual([1, 2])
    expect(model.seen.length).toBe(10)
    expect(model.parameters.some(({ grad }) => grad)).toBe(false)
    expect(model.dropoutKey).toBeNull()
    expect(checkpointsOf(options.output)).toEqual(['step-000002'])
    expect(bitsOf(await wholeRun({ ...options, resume: true }))).toEqual(bitsOf(whole))
  })

  it('drops the current evaluation, which a resumed run repeats, also after the last step', async () => {
    const evalData = writeRows(folder(), 'eval.jsonl', rows(8))
    const changes = { evalData, batchSize: 2, maxSteps: 2 }
    const options = optionsOf('out', changes)
    const { events } = await abortedIn(options, 3)
    expect(stepsOf(events)).toEqual([1, 2])
    expect(events.filter(({ type }) => type === 'evaluation' || type === 'end')).toEqual([])
    const resumed = trainWith(new TinyModel(), { ...options, resume: true })
    const undisturbed = trainWith(new TinyModel(), optionsOf('whole', changes))
    expect((await resumed.finished).evalLoss).toBe((await undisturbed.finished).evalLoss)
  })

  it('ends while it is paused', async () => {
    const options = optionsOf('out')
    const { thrown, events } = await abortedAt(options, (event, run) => {
      if (isStep(2)(event)) run.pause()
      return isStep(2)(event)
    })
    expect(thrown).toBe(REASON)
    expect(stepsOf(events)).toEqual([1, 2])
  })

  it('leaves nothing behind when it is aborted before it begins', async () => {
    const controller = new AbortController()
    const options = optionsOf('out')
    const run = trainWith(new TinyModel(), { ...options, signal: controller.signal })
    controller.abort(REASON)
    await expect(run.finished).rejects.toBe(REASON)
    expect(existsSync(options.output)).toBe(false)
  })

  it('keeps the run that it was to replace', async () => {
    const options = optionsOf('out')
    await wholeRun(options)
    const before = adapterOf(options.output)
    const controller = new AbortController()
    const replacing = { ...options, overwrite: true, seed: 8, signal: controller.signal }
    const run = trainWith(new TinyModel(), replacing)
    controller.abort(REASON)
    await expect(run.finished).rejects.toBe(REASON)
    expect(adapterOf(options.output)).toBe(before)
    expect(checkpointsOf(options.output)).toEqual(['step-000006'])
  })

  it('is unchanged if the signal comes too late', async () => {
    const options = optionsOf('out')
    const { thrown, events } = await abortedAt(options, ({ type }) => type === 'end')
    expect(thrown).toBeUndefined()
    expect(events.at(-1)).toMatchObject({ type: 'end', steps: 6, stopped: false })
  })
})

describe('a signal', () => {
  it('that is already aborted throws at once, and nothing begins', () => {
    const options = optionsOf('out')
    const model = new TinyModel()
    expect(() => trainWith(model, { ...options, signal: AbortSignal.abort(REASON) })).toThrow(REASON)
    expect(model.parameters).toEqual([])
    expect(existsSync(options.output)).toBe(false)
  })

  it('of another type is refused', () => {
    const wrong = { ...optionsOf('out'), signal: 'stop' as unknown as AbortSignal }
    expect(() => trainWith(new TinyModel(), wrong)).toThrow(
      /^Expected an AbortSignal for signal but received "stop"\.$/,
    )
  })

  it('ends meanLoss before the next batch', async () => {
    const controller = new AbortController()
    const model = new TinyModel()
    await trainWith(model, { ...optionsOf('out'), maxSteps: 1 }).finished
    const { batch } = model.seen[0]!
    const batches = function* () {
      yield batch
      controller.abort(REASON)
      yield batch
    }
    using losses = vi.spyOn(model, 'lossAsync')
    await expect(meanLoss(model, batches(), { signal: controller.signal })).rejects.toBe(REASON)
    expect(losses).toHaveBeenCalledTimes(1)
  })
})
