import { getEventListeners } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Batch } from '../../lib/data/batch.js'
import type { TrainInput } from '../../lib/options/index.js'
import type { TrainEvent } from '../../lib/train/events.js'
import { meanLoss } from '../../lib/train/index.js'
import type { Run } from '../../lib/train/run.js'
import { trainWith } from '../../lib/train/train.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { FakeModel } from './fake-model.js'
import { fakeParts, rows, writeRows } from './fake-run.js'

const folder = useTemporaryFolder()
const REASON = new Error('enough')

function optionsOf(name: string, changes: Partial<TrainInput> = {}): TrainInput & { output: string } {
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  const rate = { learningRate: 0.05, seed: 7, dropout: 0.2 }
  return { data, output: join(folder(), name), batchSize: 4, maxSteps: 6, ...rate, ...changes }
}

interface Aborted {
  model: FakeModel
  events: TrainEvent[]
  thrown: unknown
}

/** A run whose signal is aborted at the first matching event. */
async function abortedAt(
  options: TrainInput,
  isTheOne: (event: TrainEvent, run: Run) => boolean,
  model = new FakeModel(),
): Promise<Aborted> {
  const controller = new AbortController()
  const run = trainWith(model, { ...options, signal: controller.signal }, fakeParts)
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
const bitsOf = ({ parameters }: FakeModel) => parameters.map(({ values }) => Buffer.from(values.buffer).toString('hex'))

async function wholeRun(options: TrainInput): Promise<FakeModel> {
  const model = new FakeModel()
  await trainWith(model, options, fakeParts).finished
  return model
}

/** Aborts at the forward pass with this number, the first of a run being 1. */
class AbortingModel extends FakeModel {
  constructor(
    readonly pass: number,
    readonly controller: AbortController,
  ) {
    super()
  }

  override async lossAsync(batch: Batch) {
    const result = await super.lossAsync(batch)
    if (this.seen.length === this.pass) this.controller.abort(REASON)
    return result
  }
}

async function abortedIn(options: TrainInput, pass: number) {
  const controller = new AbortController()
  const model = new AbortingModel(pass, controller)
  const run = trainWith(model, { ...options, signal: controller.signal }, fakeParts)
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
    const run = trainWith(new FakeModel(), { ...optionsOf('out'), signal: controller.signal }, fakeParts)
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
    expect(model.parameters.map(({ gradient }) => gradient)).toEqual([null, null])
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
    const resumed = trainWith(new FakeModel(), { ...options, resume: true }, fakeParts)
    const undisturbed = trainWith(new FakeModel(), optionsOf('whole', changes), fakeParts)
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
    const run = trainWith(new FakeModel(), { ...options, signal: controller.signal }, fakeParts)
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
    const run = trainWith(new FakeModel(), replacing, fakeParts)
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
    const model = new FakeModel()
    expect(() => trainWith(model, { ...options, signal: AbortSignal.abort(REASON) }, fakeParts)).toThrow(REASON)
    expect(model.parameters).toEqual([])
    expect(existsSync(options.output)).toBe(false)
  })

  it('of another type is refused', () => {
    const wrong = { ...optionsOf('out'), signal: 'stop' as unknown as AbortSignal }
    expect(() => trainWith(new FakeModel(), wrong, fakeParts)).toThrow(
      /^Expected an AbortSignal for signal but received "stop"\.$/,
    )
  })

  it('ends meanLoss before the next batch', async () => {
    const controller = new AbortController()
    const model = new FakeModel()
    await trainWith(model, { ...optionsOf('out'), maxSteps: 1 }, fakeParts).finished
    const { batch } = model.seen[0]!
    const batches = function* () {
      yield batch
      controller.abort(REASON)
      yield batch
    }
    const before = model.seen.length
    await expect(meanLoss(model, batches(), { signal: controller.signal })).rejects.toBe(REASON)
    expect(model.seen.length).toBe(before + 1)
  })
})
