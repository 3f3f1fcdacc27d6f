/** Whole runs of ReMoRA against the reference's, step by step, on the device under test. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { loadModel } from '../../lib/models/index.js'
import { train } from '../../lib/train/index.js'
import { drawnIfEmulated } from '../drawn.js'
import { lacksCpu, needing } from '../needs.js'
import { stepsOf } from '../train/steps-of.js'
import { goldenJson, goldenPath, lacksGolden, largestDifference, readTensors } from './files.js'
import { type GoldenStep, loadTiny, logProbsOf } from './tiny-models.js'

interface RemoraRun {
  options: {
    name: string
    rank: number
    cycle: (keyof typeof operators)[]
    mergeEvery: number
    maxSteps: number
    firstWarmup: number
    restartWarmup: number
    lr: number
    batchSize: number
    alsoTrain: boolean
  }
  steps: Omit<GoldenStep, 'targetTokens'>[]
  final_logprobs: number[][]
}

const operators = {
  1: 'sharing',
  2: 'sharing-grouped',
  3: 'sharing-grouped-in',
  4: 'sharing-grouped-out',
} as const

const { runs, sequences } = goldenJson<{ runs: RemoraRun[]; sequences: number[][] }>('remora/expected.json')

describe.each(runs)('ReMoRA, $options.name', ({ options, steps, final_logprobs }) => {
  // Dropout apart, forward passes of one row and packed ones are the same sums in another order.
  describe.each(drawnIfEmulated(`batches of ${options.name}`, [{ microBatchSize: 1 }, { packing: true }], 1))(
    'with %o',
    (batches) => {
      const output = mkdtempSync(join(tmpdir(), 'mora-remora-'))
      afterAll(() => rmSync(output, { recursive: true }))

      let trained: Promise<void> | undefined
      /** Records the state after each step of the reference. */
      const afterSteps = () => {
        trained ??= takeSteps()
        return trained
      }
      const takeSteps = async () => {
        using model = await loadTiny('tiny-untied')
        const { device } = model
        const run = train(model, {
          data: goldenPath(`remora/${options.name}.jsonl`),
          output,
          method: 'mora',
          rank: options.rank,
          cycle: options.cycle.map((type) => operators[type]),
          modulesToSave: options.alsoTrain ? ['embeddings', 'norms', 'head'] : undefined,
          mergeEvery: options.mergeEvery,
          maxSteps: options.maxSteps,
          warmupSteps: options.firstWarmup,
          restartWarmupSteps: options.restartWarmup,
          learningRate: options.lr,
          batchSize: options.batchSize,
          shuffle: false,
          ...batches,
        })
        const taken = await stepsOf(run)
        expect(taken.length).toBe(steps.length)
        for (const [i, { loss, gradNorm, learningRate }] of taken.entries()) {
          const golden = steps[i]!
          const at = `step ${golden.step}`
          expect(learningRate, at).toBeCloseTo(golden.learningRate, 12)
          expect(Math.abs(loss / golden.loss - 1), `${at}: relative error of the loss`).toBeLessThan(2e-5)
          expect(Math.abs(gradNorm / golden.gradNorm - 1), `${at}: relative error of the norm`).toBeLessThan(5e-4)
        }
        const got = (await logProbsOf(model, sequences)).flat()
        expect(largestDifference(got, final_logprobs.flat())).toBeLessThan(5e-5)
        using whole = await loadModel(join(output, 'model'), { device: device.kind, dtype: 'float32', threads: 2 })
        expect(largestDifference((await logProbsOf(whole, sequences)).flat(), got)).toBeLessThan(5e-5)
      }

      test('takes the steps of the reference', afterSteps)

      const file = `remora/${options.name}-merged_float32.safetensors`
      needing(lacksGolden(file)).test('writes the weights of the reference', async () => {
        await afterSteps()
        const wanted = readTensors(goldenPath(file))
        const merged = readTensors(join(output, 'model', 'model.safetensors'))
        expect([...merged.keys()].sort()).toEqual([...wanted.keys()].sort())
        for (const [name, { values }] of wanted) {
          const got = merged.get(name)!.values
          // The CPU sums small products in float64: all of those of one row.
          const exact = lacksCpu === null && !('packing' in batches)
          if (exact || !options.alsoTrain) expect(largestDifference(got, values), name).toBeLessThan(1e-6)
          // Adam divides by the gradient's own size. For a few elements that is about epsilon, and the update follows the
          // rounding of sums in float32: the same steps in PyTorch, in float32, end up to 1.3e-6 away.
          const far = values.filter((value, i) => Math.abs(value - got[i]!) > 1e-6).length
          expect(far, `${name}: of ${values.length} values past 1e-6`).toBeLessThan(2e-3 * values.length)
          expect(largestDifference(got, values), name).toBeLessThan(3e-6)
        }
      })
    },
  )
})
