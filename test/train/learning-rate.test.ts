import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { schedule } from '../../lib/optim/schedule.js'
import type { TrainInput } from '../../lib/options/index.js'
import type { StepEvent } from '../../lib/train/events.js'
import type { LearningRate } from '../../lib/train/learning-rate.js'
import { trainWith } from '../../lib/train/train.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { stepsOf } from './steps-of.js'
import { TinyModel } from './tiny-model.js'
import { rows, writeRows } from './tiny-run.js'

const folder = useTemporaryFolder()

function optionsOf(changes: Partial<TrainInput> = {}): TrainInput & { output: string } {
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  return { data, output: join(folder(), 'out'), batchSize: 4, maxSteps: 4, seed: 7, ...changes }
}

async function trained(options: TrainInput, learningRate: number | LearningRate, stopAfter?: number) {
  const model = new TinyModel()
  const steps = await stepsOf(trainWith(model, { ...options, learningRate }), stopAfter)
  const bits = model.values().map((values) => Buffer.from(values.buffer).toString('hex'))
  return { steps, bits }
}

const ratesOf = ({ steps }: { steps: StepEvent[] }) => steps.map(({ learningRate }) => learningRate)
const recorded = (output: string) =>
  (parse(readFileSync(join(output, 'run.yaml'), 'utf8')) as { options: Record<string, unknown> }).options
const halving: LearningRate = (step) => 0.1 / 2 ** step

describe('a learning rate that is a function', () => {
  it('sets the rate of each step, from schedule step 0 on', async () => {
    expect(ratesOf(await trained(optionsOf(), halving))).toEqual([0.1, 0.05, 0.025, 0.0125])
  })

  it('that is a schedule trains bit for bit as the options of the schedule do', async () => {
    const rate = schedule({ learningRate: 0.05, scheduler: 'linear', warmupSteps: 2, totalSteps: 4 })
    const own = await trained(optionsOf(), rate)
    const plain = await trained(
      optionsOf({ scheduler: 'linear', warmupSteps: 2, output: join(folder(), 'plain') }),
      0.05,
    )
    expect(own.bits).toEqual(plain.bits)
    expect(ratesOf(own)).toEqual(ratesOf(plain))
  })

  it('receives the length of the run, the passes over the data, and the last measurements', async () => {
    const told: Parameters<LearningRate>[] = []
    const options = optionsOf({ evalEvery: 2 })
    const { steps } = await trained({ ...options, evalData: options.data }, (step, facts) => {
      told.push([step, facts])
      return 0.05
    })
    const losses = [null, ...steps.map(({ loss }) => loss)]
    expect(told.map(([step, { totalSteps, epoch, loss }]) => [step, totalSteps, epoch, loss])).toEqual(
      [0, 1, 2, 3].map((step) => [step, 4, (4 * step) / 13, losses[step]]),
    )
    expect(told.map(([, { evalLoss }]) => evalLoss === null)).toEqual([true, true, false, false])
  })

  it('is recorded in run.yaml as the hash of its source, in place of a schedule', async () => {
    const options = optionsOf()
    await trained(options, halving)
    const { learningRate, ...others } = recorded(options.output)
    expect(learningRate).toMatch(/^function with sha256 [0-9a-f]{64}$/)
    for (const name of ['scheduler', 'warmupSteps', 'warmupRatio', 'minLearningRateRatio', 'restartWarmupSteps'])
      expect(others).not.toHaveProperty(name)
    expect(readFileSync(join(options.output, 'README.md'), 'utf8')).toMatch(/\| Learning rate \| function with sha256/)
  })

  it('resumes bit for bit with the same function, and another one is refused', async () => {
    const whole = await trained(optionsOf({ output: join(folder(), 'whole') }), halving)
    const options = optionsOf()
    await trained(options, halving, 2)
    await expect(trained({ ...options, resume: true }, (step) => 0.2 / 2 ** step)).rejects.toThrow(
      /had learningRate function with sha256 .*allowChanges: \['learningRate'\]\.$/,
    )
    await expect(trained({ ...options, resume: true }, 0.1)).rejects.toThrow(/had learningRate function/)
    const second = await trained({ ...options, resume: true }, halving)
    expect(ratesOf(second)).toEqual([0.025, 0.0125])
    expect(second.bits).toEqual(whole.bits)
  })

  it.each([Number.NaN, -1, Number.POSITIVE_INFINITY, '0.1', undefined])(
    'is refused if it returns %s',
    async (value) => {
      const wrong: LearningRate = (step) => (step === 2 ? (value as number) : 0.1)
      const seen: StepEvent[] = []
      const run = trainWith(new TinyModel(), { ...optionsOf(), learningRate: wrong })
      const read = async () => {
        for await (const event of run) if (event.type === 'step') seen.push(event)
      }
      await expect(read()).rejects.toThrow(
        /^Expected a finite number of at least 0 from the function learningRate for schedule step 2 but received /,
      )
      expect(seen.map(({ step }) => step)).toEqual([1, 2])
    },
  )

  it('excludes options of a schedule', () => {
    const both = { ...optionsOf({ warmupSteps: 2 }), learningRate: halving }
    expect(() => trainWith(new TinyModel(), both)).toThrow(
      /^The option warmupSteps does not go with a function as learningRate, which says the rate of every step: leave/,
    )
  })
})
