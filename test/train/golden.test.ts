/** Whole runs on the native core, against runs of the reference implementation. */
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { packBatch } from '../../lib/batches/packing.js'
import { loadModel } from '../../lib/models/index.js'
import type { TrainInput } from '../../lib/options/index.js'
import { train } from '../../lib/train/index.js'
import { drawn } from '../drawn.js'
import { goldenJson, goldenPath } from '../golden/files.js'
import { useTemporaryFolder } from '../io/temporary.js'
import { localRanks } from './local-ranks.js'
import { stepsOf } from './steps-of.js'

interface GoldenRun {
  name: string
  options: TrainInput & { adapter: { method: 'mora' | 'lora'; type?: number; rank: number } }
  steps: { loss: number; gradNorm: number; learningRate: number; targetTokens: number }[]
  final_logprobs: number[][]
}
interface Golden {
  sequences: number[][]
  training: GoldenRun[]
}

const folder = useTemporaryFolder()

describe('training', () => {
  const root = goldenPath('tiny-untied')
  const { sequences, training } = goldenJson<Golden>('tiny-untied/expected.json')
  const load = () => loadModel(join(root, 'model'), { device: 'cpu', dtype: 'float32', threads: 1 })

  const onRanks = training.flatMap((run) =>
    [1, ...drawn(`ranks of ${run.name}`, [2, 3, 4], 1)].map((size) => ({ name: run.name, size, run })),
  )
  it.each(onRanks)('takes the steps of the reference: $name, ranks: $size', async ({ run, size }) => {
    const models = await Promise.all(Array.from({ length: size }, load))
    const options = optionsOf(root, run)
    const all = size === 1 ? [undefined] : localRanks(size)
    const courses = await Promise.all(all.map((ranks, i) => stepsOf(train(models[i]!, { ...options, ranks }))))
    for (const taken of courses) {
      expect(taken.length).toBe(run.steps.length)
      for (const [i, { loss, gradNorm, learningRate, targetTokens }] of taken.entries()) {
        const expected = run.steps[i]!
        expect(targetTokens).toBe(expected.targetTokens)
        expect(Math.abs(learningRate - expected.learningRate)).toBeLessThan(1e-15)
        expect(Math.abs(loss / expected.loss - 1)).toBeLessThan(2e-5)
        expect(Math.abs(gradNorm / expected.gradNorm - 1)).toBeLessThan(5e-4)
      }
    }
    for (const model of models) {
      for (const [i, ids] of sequences.entries()) {
        const logProbs = await model.tokenLogProbs(packBatch([{ ids, mask: ids.map(() => 1), row: 0 }]))
        logProbs.forEach((value, j) => {
          expect(Math.abs(value - run.final_logprobs[i]![j]!)).toBeLessThan(5e-5)
        })
      }
      model.dispose()
    }
  })

  it.each(['mora', 'lora', 'full'] as const)('T21 goes on bit for bit with method %s', async (method) => {
    const base: TrainInput = {
      data: join(root, 'training', 'rotation-cosine', 'rows.jsonl'),
      method,
      learningRate: 1e-3,
      batchSize: 3,
      maxSteps: 6,
      ...(method === 'full' ? {} : { dropout: 0.1 }),
    }
    const course = async (options: TrainInput, stopAfter?: number) => {
      const model = await load()
      const losses = (await stepsOf(train(model, options), stopAfter)).map(({ loss }) => loss)
      const weights = await Promise.all(model.trainableParameters().map(({ parameter }) => parameter.data()))
      model.dispose()
      return { losses, weights }
    }
    const whole = await course(base)
    const first = await course({ ...base, output: folder() }, 3)
    const second = await course({ ...base, output: folder(), resume: true })
    expect([...first.losses, ...second.losses]).toEqual(whole.losses)
    expect(second.weights).toEqual(whole.weights)
  })
})

const operators = { 1: 'sharing', 6: 'rotation' } as const

function optionsOf(root: string, { name, options }: GoldenRun): TrainInput {
  const { adapter, ...rest } = options
  const files = join(root, 'training', name)
  const known = [
    'learningRate',
    'scheduler',
    'warmupSteps',
    'maxSteps',
    'batchSize',
    'weightDecay',
    'beta2',
    'maxGradNorm',
  ]
  return {
    ...Object.fromEntries(Object.entries(rest).filter(([key]) => known.includes(key))),
    data: join(files, 'rows.jsonl'),
    shuffle: false,
    microBatchSize: 2,
    ...(adapter.method === 'lora'
      ? { adapter: join(files, 'start') }
      : { rank: adapter.rank, operator: operators[adapter.type as 1 | 6] }),
  }
}
