import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { TrainInput } from '../../../lib/options/index.js'
import type { TrainEvent } from '../../../lib/train/events.js'
import type { Run } from '../../../lib/train/run.js'
import { trainWith } from '../../../lib/train/train.js'
import { useTemporaryFolder } from '../../io/temporary.js'
import { TinyModel } from '../tiny-model.js'
import { rows, trainTiny, writeRows } from '../tiny-run.js'
import { readEventFile } from './event-files.js'

const folder = useTemporaryFolder()

function optionsOf(changes: Partial<TrainInput> = {}): TrainInput & { output: string } {
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  return { data, evalData: data, evalEvery: 2, output: join(folder(), 'out'), batchSize: 4, maxSteps: 4, ...changes }
}

const metricsOf = (output: string) =>
  readFileSync(join(output, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number> & { time: string })

const withReward = (output: string) => metricsOf(output).filter(({ reward }) => reward !== undefined)
const logsOf = (events: readonly TrainEvent[]) => events.flatMap((event) => (event.type === 'log' ? [event] : []))

/** Logs the number of each step while its event is handled. */
const logSteps = (event: TrainEvent, run: Run) => {
  if (event.type === 'step') run.log({ reward: event.step / 10 })
}

describe('numbers that are logged', () => {
  it('are in the line of the step whose event is handled, and are reported once written', async () => {
    const options = optionsOf()
    const { events } = await trainTiny(options, {}, logSteps)
    const lines = metricsOf(options.output)
    expect(lines.map(({ step, loss, reward }) => [step, loss !== undefined, reward])).toEqual([
      [1, true, 0.1],
      [2, true, 0.2],
      [2, false, undefined],
      [3, true, 0.3],
      [4, true, 0.4],
      [4, false, undefined],
    ])
    expect(logsOf(events)).toEqual([1, 2, 3, 4].map((step) => ({ type: 'log', step, values: { reward: step / 10 } })))
    const second = events.findIndex((event) => event.type === 'step' && event.step === 2)
    expect(events.slice(second, second + 3).map(({ type }) => type)).toEqual(['step', 'log', 'evaluation'])
  })

  it('also reach onEvent, without a reader', async () => {
    const options = optionsOf()
    const events: TrainEvent[] = []
    const run: Run = trainWith(new TinyModel(), {
      ...options,
      onEvent: (event) => {
        events.push(event)
        logSteps(event, run)
      },
    })
    await run.finished
    expect(logsOf(events).map(({ step }) => step)).toEqual([1, 2, 3, 4])
    expect(withReward(options.output).map(({ step }) => step)).toEqual([1, 2, 3, 4])
  })

  it('are in the line of an evaluation that is handled; the last of several with one name counts', async () => {
    const options = optionsOf()
    await trainTiny(options, {}, (event, run) => {
      if (event.type === 'evaluation') {
        run.log({ reward: 7, 'reward/deviation': 0.5 })
        run.log({ reward: event.step })
      }
    })
    expect(
      withReward(options.output).map(({ step, evalLoss, ...line }) => [step, typeof evalLoss, line.reward]),
    ).toEqual([
      [2, 'number', 2],
      [4, 'number', 4],
    ])
    expect(withReward(options.output).map((line) => line['reward/deviation'])).toEqual([0.5, 0.5])
  })

  it('are in the first line before the first step, and in the last one at the last checkpoint', async () => {
    const options = optionsOf({ evalData: undefined, evalEvery: undefined })
    const model = new TinyModel()
    const run = trainWith(model, options)
    run.log({ reward: 0.5 })
    const events: TrainEvent[] = []
    for await (const event of run) {
      events.push(event)
      if (event.type === 'checkpoint') run.log({ reward: 9 })
    }
    expect(metricsOf(options.output).map(({ step, reward }) => [step, reward])).toEqual([
      [1, 0.5],
      [2, undefined],
      [3, undefined],
      [4, 9],
    ])
    expect(events.slice(-3).map(({ type }) => type)).toEqual(['checkpoint', 'log', 'end'])
  })

  it('are in TensorBoard with their steps', async () => {
    const options = optionsOf({ tensorboard: true })
    await trainTiny(options, {}, logSteps)
    const place = join(options.output, 'tensorboard')
    const [, ...records] = readEventFile(join(place, readdirSync(place)[0]!))
    const rewards = records.flatMap(({ step, scalars }) =>
      scalars?.reward === undefined ? [] : [[step, scalars.reward]],
    )
    expect(rewards).toEqual([1, 2, 3, 4].map((step) => [step, Math.fround(step / 10)]))
  })

  it('stay in the file when the run is resumed', async () => {
    const options = optionsOf()
    await trainTiny(options, {}, (event, run) => {
      logSteps(event, run)
      if (event.type === 'step' && event.step === 2) void run.stop()
    })
    await trainTiny({ ...options, resume: true }, {}, logSteps)
    expect(withReward(options.output).map(({ step, reward }) => [step, reward])).toEqual(
      [1, 2, 3, 4].map((step) => [step, step / 10]),
    )
  })

  it('are only reported if nothing is written', async () => {
    const { events } = await trainTiny(optionsOf({ output: undefined }), {}, logSteps)
    expect(logsOf(events).length).toBe(4)
  })

  it('are refused if names or values are wrong, and then nothing of the call is logged', async () => {
    const options = optionsOf()
    const refusals: string[] = []
    await trainTiny(options, {}, (event, run) => {
      if (event.type !== 'step' || event.step !== 1) return
      const wrong: unknown[] = [{ loss: 1 }, { time: 1 }, { '': 1 }, { reward: Number.NaN }, { reward: '1' }]
      for (const values of [...wrong.map((one) => ({ fine: 1, ...(one as object) })), [1], null]) {
        try {
          run.log(values as Record<string, number>)
        } catch (error) {
          refusals.push((error as Error).message)
        }
      }
    })
    expect(refusals).toEqual([
      expect.stringMatching(/^Expected another name than "loss" for a number to log: .*gradNorm.* are taken\.$/),
      expect.stringMatching(/^Expected another name than "time"/),
      expect.stringMatching(/^Expected another name than "" for/),
      'Expected a finite number for reward to log but received NaN.',
      'Expected a finite number for reward to log but received "1".',
      'Expected an object of numbers by their names for values but received [1].',
      'Expected an object of numbers by their names for values but received null.',
    ])
    expect(metricsOf(options.output).some((line) => 'fine' in line || 'reward' in line)).toBe(false)
  })

  it('are refused once the run has ended, also while its last event is handled', async () => {
    let thrown: unknown
    const { run } = await trainTiny(optionsOf(), {}, (event, run) => {
      try {
        if (event.type === 'end') run.log({ reward: 1 })
      } catch (error) {
        thrown = error
      }
    })
    const sentence = 'The run has ended, so nothing more is logged: log before its last event.'
    expect(thrown).toMatchObject({ code: 'ended', message: sentence })
    expect(() => run.log({ reward: 1 })).toThrow(sentence)
  })
})

describe('lines of metrics.jsonl', () => {
  it('have the time at which they came, in order', async () => {
    const options = optionsOf()
    const before = new Date().toISOString()
    await trainTiny(options)
    const times = metricsOf(options.output).map(({ time }) => time)
    expect(times.length).toBe(6)
    for (const time of times) expect(new Date(time).toISOString()).toBe(time)
    const all = [before, ...times, new Date().toISOString()]
    expect([...all].sort()).toEqual(all)
  })

  it('are in the file when onEvent fails', async () => {
    const options = optionsOf()
    const onEvent = ({ type }: TrainEvent) => {
      if (type === 'step') throw new Error('mine')
    }
    await expect(trainWith(new TinyModel(), { ...options, onEvent }).finished).rejects.toThrow('mine')
    expect(metricsOf(options.output).map(({ step }) => step)).toEqual([1])
  })
})
