/** Several ranks in one process train as one does. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'
import { packBatch } from '../../../lib/batches/packing.js'
import { type LossTensor, runObjective } from '../../../lib/objectives/objective.js'
import { AdamW } from '../../../lib/optim/adamw.js'
import { Parameter } from '../../../lib/tensor/parameter.js'
import type { Ranks, WritableValues } from '../../../lib/tensor/ranks.js'
import { Tensor } from '../../../lib/tensor/tensor.js'
import { GradientSum } from '../../../lib/train/gradient-sum.js'
import { train } from '../../../lib/train/index.js'
import { optimizerStep } from '../../../lib/train/optimizer-step.js'
import { RankSync } from '../../../lib/train/rank-sync.js'
import type { TrainOptions } from '../../../lib/train/train.js'
import { drawn } from '../../drawn.js'
import { goldenPath, largestDifference } from '../../golden/files.js'
import { loadTiny } from '../../golden/tiny-models.js'
import { expectRejection, useTemporaryFolder } from '../../io/temporary.js'
import { liveBytes } from '../../live-bytes.js'
import { testDevice } from '../../operations/harness.js'
import { localRanks } from '../local-ranks.js'
import { stepsOf } from '../steps-of.js'
import { TinyModel } from '../tiny-model.js'
import { notices, type Outcome, rows, steps, trainTiny, writeRows } from '../tiny-run.js'

const folder = useTemporaryFolder()

/** Two passes over 13 ragged rows, 5 a step: the last step has one row. */
function optionsOf(changes: Partial<TrainOptions> = {}): TrainOptions {
  const data = writeRows(folder(), 'train.jsonl', rows(13))
  const evalData = writeRows(folder(), 'valid.jsonl', rows(7, { first: 20 }))
  return { data, evalData, evalEvery: 2, batchSize: 5, epochs: 2, microBatchSize: 1, dropout: 0.3, ...changes }
}

type Watch = Parameters<typeof trainTiny>[2]

function trainOn(size: number, options: TrainOptions, models: Parameters<typeof trainTiny>[1][] = [], watch?: Watch) {
  return Promise.all(localRanks(size).map((ranks, rank) => trainTiny({ ...options, ranks }, models[rank] ?? {}, watch)))
}

const bits = ({ model }: Outcome) => [...model.values(), ...model.weights()]
const weights = (outcome: Outcome) => bits(outcome).flatMap((values) => [...values])
const evaluations = ({ events }: Outcome) =>
  events.flatMap((event) => (event.type === 'evaluation' ? [event.evalLoss] : []))

function expectRelative(actual: readonly number[], expected: readonly number[], tolerance: number): void {
  expect(actual.length).toBe(expected.length)
  for (const [i, value] of actual.entries()) expect(Math.abs(value / expected[i]! - 1)).toBeLessThan(tolerance)
}

/** The figures of a rank's steps, except times. */
const course = (outcome: Outcome) => steps(outcome).map(({ tokensPerSecond: _, memoryBytes: __, ...rest }) => rest)

describe.each(drawn('numbers of ranks', [2, 3], 1))('%i ranks', (size) => {
  it('T2 T28 get the result of one, with unequal numbers of micro-batches and ranks without a row', async () => {
    const one = await trainTiny(optionsOf())
    const all = await trainOn(size, optionsOf())
    const rowsOfStep = (outcome: Outcome, step: number) =>
      outcome.model.seen.filter((pass) => pass.step === step).reduce((sum, { batch }) => sum + batch.rows, 0)
    expect(all.map((outcome) => rowsOfStep(outcome, 1))).toEqual(size === 2 ? [3, 2] : [2, 2, 1])
    expect(all.map((outcome) => rowsOfStep(outcome, 6))).toEqual(size === 2 ? [1, 0] : [1, 0, 0])

    for (const outcome of all) {
      expect(course(outcome)).toEqual(course(all[0]!))
      expect(bits(outcome)).toEqual(bits(all[0]!))
      expect(evaluations(outcome)).toEqual(evaluations(all[0]!))
    }
    const [first] = all as [Outcome]
    const [mine, alone] = [steps(first), steps(one)]
    expectRelative(
      mine.map(({ loss }) => loss),
      alone.map(({ loss }) => loss),
      1e-6,
    )
    expectRelative(
      mine.map(({ gradNorm }) => gradNorm),
      alone.map(({ gradNorm }) => gradNorm),
      1e-6,
    )
    expectRelative(evaluations(first), evaluations(one), 1e-6)
    const counts = (outcome: Outcome) => steps(outcome).map(({ tokens, targetTokens }) => [tokens, targetTokens])
    expect(counts(first)).toEqual(counts(one))
    const apart = weights(first).map((value, i) => Math.abs(value - weights(one)[i]!))
    expect(Math.max(...apart)).toBeLessThan(1e-6)
  })

  it('merge together', async () => {
    const options = optionsOf({ mergeEvery: 2, output: join(folder(), 'out') })
    const one = await trainTiny({ ...options, output: undefined })
    const all = await trainOn(size, options)
    for (const outcome of all) expect(bits(outcome)).toEqual(bits(all[0]!))
    const apart = weights(all[0]!).map((value, i) => Math.abs(value - weights(one)[i]!))
    expect(Math.max(...apart)).toBeLessThan(1e-6)
    expect(readdirSync(join(folder(), 'out', 'merges'))).toEqual(['merge-0001', 'merge-0002'])
  })
})

describe('of several ranks', () => {
  it('the first alone writes and reports', async () => {
    const place = (rank: number) => join(folder(), `rank-${rank}`)
    const untrained = { input_ids: [1, 2, 3], labels: [-100, -100, -100] }
    const data = writeRows(folder(), 'mixed.jsonl', [...rows(13), untrained])
    const options = optionsOf({ data, saveEvery: 2, tensorboard: true })
    const alone = await trainTiny({ ...options, output: join(folder(), 'alone') })
    const all = await Promise.all(
      localRanks(3).map((ranks, rank) => trainTiny({ ...options, output: place(rank), ranks })),
    )
    expect(readdirSync(folder()).sort()).toEqual(['alone', 'mixed.jsonl', 'rank-0', 'train.jsonl', 'valid.jsonl'])
    const files = (path: string) =>
      (readdirSync(path, { recursive: true }) as string[]).filter((name) => !/tfevents/.test(name))
    expect(files(place(0)).sort()).toEqual(files(join(folder(), 'alone')).sort())
    const lines = (path: string) =>
      readFileSync(join(path, 'metrics.jsonl'), 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, number>)
    const counts = (path: string) => lines(path).map(({ step, tokens, targetTokens }) => [step, tokens, targetTokens])
    expect(counts(place(0))).toEqual(counts(join(folder(), 'alone')))
    expect(all.map(({ result }) => result.output)).toEqual([place(0), null, null])
    expect(notices(alone).join()).toMatch(/left out/)
    expect(all.map(notices)).toEqual([notices(alone), [], []])
    expect(all.map(({ result }) => result.steps)).toEqual([6, 6, 6])
  })

  it('the others refuse to save', async () => {
    const refusals: unknown[] = []
    await trainOn(2, optionsOf({ output: join(folder(), 'out'), maxSteps: 2 }), [], async (event, run) => {
      if (event.type === 'step' && event.step === 1)
        await run.save().catch((error: Error) => refusals.push(error.message))
    })
    expect(refusals).toEqual(['Checkpoints are written by one rank, and not by rank 1: ask its run to save.'])
  })

  it('T21 all resume from the checkpoint of one, bit for bit', async () => {
    const whole = await trainOn(2, optionsOf())
    const options = optionsOf({ output: join(folder(), 'out') })
    await trainOn(2, options, [], (event, run) => {
      if (event.type === 'step' && event.step === 3) void run.stop()
    })
    const resumed = await trainOn(2, { ...options, resume: true })
    expect(resumed.map(course)).toEqual(whole.map((outcome) => course(outcome).slice(3)))
    expect(resumed.map(bits)).toEqual(whole.map(bits))
    expect(existsSync(join(folder(), 'out', 'checkpoints', 'step-000006'))).toBe(true)
  })

  it('all stop before an update that is not finite on one alone', async () => {
    const disturb = (gradient: Float32Array, step: number) => {
      if (step === 2) gradient[3] = Number.NaN
    }
    const ends = localRanks(2).map((ranks, rank) =>
      trainTiny({ ...optionsOf(), ranks }, rank === 1 ? { disturb } : {}).then(
        () => 'the end',
        (error: Error) => error.message,
      ),
    )
    const [first, second] = await Promise.all(ends)
    expect(first).toMatch(/step 2: the gradient norm is NaN, first in the gradient of model\.layers\.0/)
    expect(second).toBe(first)
  })

  it('are refused if they are malformed', async () => {
    await expectRejection(
      trainTiny(optionsOf({ ranks: { rank: 0 } as never })),
      'bad-value',
      /^Expected ranks for ranks/,
    )
  })
})

describe('ranks on a device', () => {
  afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

  /** Losses and the final adapter of each rank. Of 48 rows the third step has two. */
  function adaptersOf(all: readonly (Ranks | undefined)[], method: 'mora' | 'lora') {
    const data = goldenPath('tiny-untied/training/rotation-cosine/rows.jsonl')
    const options = { data, method, rank: 2, dropout: 0.1, learningRate: 1e-3, batchSize: 23, epochs: 2 }
    return Promise.all(
      all.map(async (ranks) => {
        using model = await loadTiny('tiny-untied')
        const losses = (await stepsOf(train(model, { ...options, ranks }))).map(({ loss }) => loss)
        const tensors = model.trainableParameters().map(({ parameter }) => parameter.data() as Promise<Float32Array>)
        return { losses, adapter: (await Promise.all(tensors)).flatMap((values) => [...values]) }
      }),
    )
  }

  it.each(['mora', 'lora'] as const)('three train %s as one does', async (method) => {
    const [alone] = await adaptersOf([undefined], method)
    const all = await adaptersOf(localRanks(3), method)
    expect(alone!.losses).toHaveLength(3)
    expect(alone!.adapter.some((value) => Math.abs(value) > 1e-3)).toBe(true)
    for (const { losses, adapter } of all) {
      expectRelative(losses, alone!.losses, 1e-6)
      expect(largestDifference(adapter, alone!.adapter)).toBeLessThan(1e-6)
      expect(adapter).toEqual(all[0]!.adapter)
    }
  })
})

/** Makes a parameter of each block, whose gradients are too large to be sent together by default. */
function parametersOf(blocks: number, values = 2 ** 18): Parameter[] {
  return Array.from({ length: blocks }, (_, i) => {
    const parameter = new Parameter(`layers.${i}.mora`, Tensor.zeros([values], { device: testDevice() }))
    onTestFinished(() => parameter.dispose())
    return parameter
  })
}

describe('GradientSum', () => {
  /** A parameter of each block on every rank, and the order in which their gradients went out. */
  function made(size: number, blocks: number, values = 2 ** 18) {
    return localRanks(size).map((ranks, rank) => {
      const parameters = parametersOf(blocks, values)
      const order: string[] = []
      const nameOf = (gradient: WritableValues) => parameters.find(({ grad }) => grad === gradient)!.name
      const watching: Ranks = {
        ...ranks,
        sumGradients(gradients) {
          order.push(gradients.map(nameOf).join(' '))
          return ranks.sumGradients(gradients)
        },
      }
      return { rank, parameters, sum: new GradientSum(new RankSync(watching), parameters), order }
    })
  }

  it('sums in place, treats a missing gradient of a rank as zeros, and skips parameters without any gradient', async () => {
    const all = made(3, 3, 2)
    for (const { rank, parameters } of all) parameters[0]!.ensureGrad().assign(Float32Array.of(rank, 10 * rank))
    all[1]!.parameters[1]!.ensureGrad().assign(Float32Array.of(5, -5))
    const places = all.map(({ parameters }) => parameters[0]!.grad)
    await Promise.all(all.map(({ sum }) => sum.finish()))
    expect(all.map(({ sum }) => sum.reached)).toEqual([
      [1, 0, 0],
      [1, 1, 0],
      [1, 0, 0],
    ])
    for (const { rank, parameters, sum } of all) {
      sum.keepReached([3, 1, 0])
      const sums = await Promise.all(parameters.map(async ({ grad }) => grad && [...(await grad.data())]))
      expect(sums).toEqual([[3, 30], [5, -5], null])
      expect(parameters[0]!.grad).toBe(places[rank])
    }
  })

  it('sends blocks from the last on, each once it and later ones are final, and small ones together', async () => {
    const [one, other] = made(2, 4)
    /** Once these blocks of both are final. */
    const orderAfter = async (...blocks: number[]) => {
      for (const { sum, parameters } of [one!, other!]) for (const block of blocks) sum.onGradient!(parameters[block]!)
      await new Promise((resolve) => setTimeout(resolve))
      return one!.order.slice()
    }
    expect(await orderAfter(2)).toEqual([])
    expect(await orderAfter(3)).toEqual(['layers.3.mora', 'layers.2.mora'])
    expect(await orderAfter(0)).toHaveLength(2)
    await Promise.all([one!.sum.finish(), other!.sum.finish()])
    const all = ['layers.3.mora', 'layers.2.mora', 'layers.1.mora', 'layers.0.mora']
    expect(one!.order).toEqual(all)
    expect(other!.order).toEqual(all)

    const [small] = made(1, 3, 5)
    await small!.sum.finish()
    expect(small!.order).toEqual([])
    const smalls = made(2, 3, 5)
    await Promise.all(smalls.map(({ sum }) => sum.finish()))
    expect(smalls[0]!.order).toEqual(['layers.2.mora layers.1.mora layers.0.mora'])
  })
})

describe('GradientSum, where sums take their time,', () => {
  it('sends a bucket before earlier ones have arrived, and waits for all at the end', async () => {
    const parameters = parametersOf(2)
    const arrive: (() => void)[] = []
    const ranks = {
      ...localRanks(1)[0]!,
      size: 2,
      sumGradients: () => new Promise<void>((resolve) => arrive.push(resolve)),
    }
    const sum = new GradientSum(new RankSync(ranks), parameters)
    for (const parameter of parameters.toReversed()) sum.onGradient!(parameter)
    expect(arrive).toHaveLength(2)
    let hasFinished = false
    const finished = sum.finish().then(() => {
      hasFinished = true
    })
    for (const one of arrive.toReversed()) {
      expect(hasFinished).toBe(false)
      one()
      await new Promise((resolve) => setTimeout(resolve))
    }
    await finished
  })
})

describe('optimizerStep', () => {
  it('sends a gradient while the last backward pass of the step goes on, and not before', async () => {
    const parameters = parametersOf(2)
    const order: string[] = []
    let passes = 0
    const backward: LossTensor['backward'] = async ({ onGradient } = {}) => {
      const pass = ++passes
      for (const parameter of parameters.toReversed()) {
        parameter.ensureGrad().assign(new Float32Array(2 ** 18).fill((pass * (pass + 1)) / 2))
        onGradient?.(parameter)
        order.push(`pass ${pass} has reached ${parameter.name}`)
        await new Promise((resolve) => setTimeout(resolve))
      }
    }
    const objective = runObjective({
      name: 'one',
      loss: async () => ({ loss: { item: async () => 1, backward, dispose: () => {} }, weight: 1 }),
    })
    const ranks: Ranks = {
      ...localRanks(1)[0]!,
      size: 2,
      async sumGradients(gradients) {
        await null
        const place = order.push('') - 1
        const values = (await gradients[0]!.data()) as Float32Array
        order[place] = `${values[0]} is sent`
        gradients[0]!.assign(values.map((value) => 10 * value))
      },
    }
    const sync = new RankSync(ranks)
    const optimizer = new AdamW(parameters, { beta1: 0, beta2: 0, epsilon: 1, weightDecay: 0 })
    const session = {
      objective,
      passes: new TinyModel(),
      parameters,
      optimizer,
      sync,
      signal: undefined,
      canBeSaved: true,
    }
    const batch = packBatch([{ ids: Int32Array.of(1, 2), mask: Uint8Array.of(1, 1), row: 0 }])
    const report = await optimizerStep(session, [batch, batch], { learningRate: 0, maxGradNorm: 0 })
    expect(order).toEqual([
      'pass 1 has reached layers.1.mora',
      'pass 1 has reached layers.0.mora',
      'pass 2 has reached layers.1.mora',
      '3 is sent',
      'pass 2 has reached layers.0.mora',
      '3 is sent',
    ])
    optimizer.dispose()
    expect(report!.gradNorm).toBeCloseTo(Math.sqrt(2 * 2 ** 18) * 15, 3)
  })
})
