/** ReMoRA on a tiny model: when it merges, and resuming across merges as if never interrupted. */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { lora } from '../../lib/adapters/methods/lora.js'
import { mora } from '../../lib/adapters/methods/mora.js'
import { schedule } from '../../lib/optim/schedule.js'
import type { TrainInput } from '../../lib/options/index.js'
import type { MergeEvent } from '../../lib/train/events.js'
import { restartPlan } from '../../lib/train/restart-plan.js'
import { expectRejection, useTemporaryFolder } from '../io/temporary.js'
import { type Outcome, rows, steps, trainTiny, writeRows } from './tiny-run.js'

const folder = useTemporaryFolder()

function optionsOf(output: string, changes: Partial<TrainInput> = {}): TrainInput & { output: string } {
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  const course = { batchSize: 4, maxSteps: 8, mergeEvery: 4, restartWarmupSteps: 2, dropout: 0.2 }
  return { data, output: join(folder(), output), ...course, ...changes }
}

const merges = ({ events }: Outcome) =>
  events.filter((event): event is MergeEvent => event.type === 'merge').map(({ step }) => step)
const bits = ({ model }: Outcome) =>
  [...model.values(), ...model.weights()].map((values) => Buffer.from(values.buffer).toString('hex'))
const losses = (outcome: Outcome) => steps(outcome).map(({ loss }) => loss)

const stopAfter = (options: TrainInput, step: number) =>
  trainTiny(options, {}, (event, run) => {
    if (event.type === 'step' && event.step === step) void run.stop()
  })

describe('a run that merges on the way', () => {
  it('merges at the given interval, but not at the last step', async () => {
    const run = await trainTiny(optionsOf('out', { maxSteps: 12 }))
    expect(merges(run)).toEqual([4, 8])
    expect(run.model.values().every((values) => values.some((value) => value !== 0))).toBe(true)
  })

  it('uses the jagged cosine by default, and records its choice', async () => {
    const options = optionsOf('out', { maxSteps: 12, warmupSteps: 1 })
    const run = await trainTiny(options)
    const rate = schedule({
      learningRate: 0.05,
      scheduler: 'cosine-restarts',
      totalSteps: 12,
      warmupSteps: 1,
      mergeEvery: 4,
      restartWarmupSteps: 2,
      minLearningRateRatio: 0.1,
    })
    expect(steps(run).map(({ learningRate }) => learningRate)).toEqual(Array.from({ length: 12 }, (_, s) => rate(s)))
    expect(parse(readFileSync(join(options.output, 'run.yaml'), 'utf8')).options).toMatchObject({
      method: 'mora',
      operator: 'sharing',
      cycle: ['sharing', 'sharing-grouped'],
      regroup: 'cycle',
      scheduler: 'cosine-restarts',
      minLearningRateRatio: 0.1,
      restartWarmupSteps: 2,
    })
  })

  it('writes the whole model, the merged adapters, and no adapter of its own', async () => {
    const { output } = optionsOf('out')
    await trainTiny(optionsOf('out', { maxSteps: 9 }))
    expect(readdirSync(output).sort()).toEqual([
      'README.md',
      'checkpoints',
      'merges',
      'metrics.jsonl',
      'model',
      'run.yaml',
    ])
    expect(readdirSync(join(output, 'merges')).sort()).toEqual(['merge-0001', 'merge-0002'])
    expect(readFileSync(join(output, 'README.md'), 'utf8')).toContain('--model THIS_FOLDER/model')
    await trainTiny(optionsOf('out', { mergeEvery: undefined, restartWarmupSteps: undefined, overwrite: true }))
    expect(existsSync(join(output, 'merges'))).toBe(false)
  })

  it.each([1, 3, 4, 5, 7, 8])('T21 resumes bit for bit after step %i', async (step) => {
    const whole = await trainTiny(optionsOf('whole', { maxSteps: 11, regroup: 'permute' }))
    const halves = optionsOf('halves', { maxSteps: 11, regroup: 'permute' })
    const first = await stopAfter(halves, step)
    const second = await trainTiny({ ...halves, resume: true })
    expect([...losses(first), ...losses(second)]).toEqual(losses(whole))
    expect([...merges(first), ...merges(second)]).toEqual([4, 8])
    expect(bits(second)).toEqual(bits(whole))
  })

  it('T21 resumes from a checkpoint between a merge and the next step', async () => {
    const whole = await trainTiny(optionsOf('whole'))
    const options = optionsOf('halves')
    await trainTiny(options, {}, (event, run) => {
      if (event.type === 'merge') void run.stop()
    })
    const second = await trainTiny({ ...options, resume: true })
    expect(merges(second)).toEqual([])
    expect(bits(second)).toEqual(bits(whole))
  })

  it('T21 resumes from a checkpoint before merges that it had done already, also in another folder', async () => {
    const options = optionsOf('out', { maxSteps: 11, saveEvery: 3 })
    const whole = await trainTiny(options)
    const from = join(options.output, 'checkpoints', 'step-000006')
    const elsewhere = { ...options, output: join(folder(), 'elsewhere') }
    expect(bits(await trainTiny({ ...elsewhere, resume: from }))).toEqual(bits(whole))
    await rm(options.output)
    const again = await trainTiny({ ...elsewhere, resume: join(elsewhere.output, 'checkpoints', 'step-000009') })
    expect(bits(again)).toEqual(bits(whole))
  })

  it('does not resume as a run that never merges', async () => {
    const options = optionsOf('out')
    await stopAfter(options, 6)
    const never = { mergeEvery: undefined, restartWarmupSteps: undefined, operator: 'sharing' as const }
    const resumed = trainTiny({ ...options, ...never, resume: true, allowChanges: ['all'] })
    await expectRejection(resumed, 'changed-run', /continues with mergeEvery only/)
  })

  it('T20 does not resume without its merged adapters', async () => {
    const options = optionsOf('out')
    await stopAfter(options, 6)
    rmSync(join(options.output, 'merges', 'merge-0001', 'adapter_model.safetensors'))
    await expectRejection(trainTiny({ ...options, resume: true }), 'torn-checkpoint', /merge-0001.*is missing/)
  })
})

const rm = async (path: string) => rmSync(path, { recursive: true })

describe('the plan of restarts', () => {
  const plan = (config: Parameters<typeof restartPlan>[1], options: Partial<TrainInput>) =>
    restartPlan('a', config, { mergeEvery: 5, seed: 3, ...options } as Parameters<typeof restartPlan>[2])!
  const operatorsOf = (...[config, options]: Parameters<typeof plan>) =>
    [1, 2, 3, 4].map((restarts) => (plan(config, options).after(restarts).config as { operator?: string }).operator)

  it('takes operators in turn from the one that the adapter has', () => {
    const sharing = mora({ operator: 'sharing' })
    const [one, two] = ['sharing', 'sharing-grouped']
    expect(operatorsOf(sharing, {})).toEqual([two, one, two, one])
    expect(operatorsOf(mora({ operator: 'sharing-grouped' }), {})).toEqual([one, two, one, two])
    const rotation = 'rotation'
    expect(operatorsOf(mora({ operator: rotation }), {})).toEqual([rotation, rotation, rotation, rotation])
    expect(operatorsOf(sharing, { operator: 'sharing' })).toEqual([one, one, one, one])
    expect(operatorsOf(sharing, { cycle: ['sharing', 'sharing', 'rotation'] })).toEqual([one, 'rotation', one, one])
  })

  it('draws a permutation for each restart on request', () => {
    const permutations = (options: Partial<TrainInput>) =>
      [1, 2].map((restarts) => plan(mora(), options).after(restarts).config)
    expect(permutations({})).toMatchObject([{ permutation: null }, { permutation: null }])
    expect(permutations({ regroup: 'permute' })).toMatchObject([
      { permutation: { seed: 3, cycle: 1 } },
      { permutation: { seed: 3, cycle: 2 } },
    ])
  })

  it('gives LoRA another seed each time', () => {
    const config = lora({ rank: 2 })
    const [one, two] = [1, 2].map((restarts) => plan(config, {}).after(restarts))
    expect([one!.config, two!.config]).toEqual([config, config])
    expect(one!.seed).not.toBe(two!.seed)
  })

  it("refuses turns that leave out the adapter's operator", () => {
    expect(() => plan(mora({ operator: 'rotation' }), { cycle: ['sharing'] })).toThrow(
      /rotation is not among.*\(sharing\)/,
    )
    for (const options of [{ cycle: ['sharing'] }, { regroup: 'permute' }] as Partial<TrainInput>[]) {
      expect(() => plan(lora(), options)).toThrow(/does not go with method lora/)
    }
  })

  it('refuses methods that cannot be restarted', () => {
    expect(() => plan({ ...mora(), method: 'dora' as 'mora' }, {})).toThrow(/mergeEvery does not go with method dora/)
  })
})
