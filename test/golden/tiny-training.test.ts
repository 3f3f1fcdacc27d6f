/** Training runs of the reference, followed step by step in float32, and again with recomputed activations and bfloat16. */
import { afterAll, describe, expect, test } from 'vitest'
import type { Model } from '../../lib/models/model.js'
import { drawnIfEmulated } from '../drawn.js'
import { liveBytes } from '../live-bytes.js'
import { needing } from '../needs.js'
import { testDevice } from '../operations/harness.js'
import { goldenPath, lacksGolden, largestDifference, readTensors } from './files.js'
import {
  addStart,
  expectedOf,
  type GoldenTraining,
  loadTiny,
  logProbsOf,
  type TinyModel,
  tinyModels,
  trainLike,
} from './tiny-models.js'

afterAll(() => expect(liveBytes(testDevice()), 'bytes in use at the end').toBe(0))

async function trained(model: Model, name: TinyModel, run: GoldenTraining) {
  await addStart(model, name, run)
  const steps = await trainLike(model, name, run)
  const parameters = new Map<string, Float32Array>()
  for (const { name: key, parameter } of model.trainableParameters()) {
    parameters.set(key, await parameter.data())
  }
  return { steps, parameters }
}

for (const name of tinyModels) {
  const { sequences, training } = expectedOf(name)

  describe.each(drawnIfEmulated(`training of ${name}`, training, 1))(`${name}, $name`, (run) => {
    let learnt: Promise<Model> | undefined
    /** The model after the steps of the reference, each of which matched. */
    const model = () => {
      learnt ??= takeSteps()
      return learnt
    }
    const takeSteps = async () => {
      const model = await loadTiny(name)
      await addStart(model, name, run)
      await trainLike(model, name, run, (taken, golden) => {
        const at = `step ${golden.step}`
        expect(taken.targetTokens, at).toBe(golden.targetTokens)
        expect(taken.learningRate, at).toBeCloseTo(golden.learningRate, 12)
        expect(Math.abs(taken.loss / golden.loss - 1), `${at}: relative error of the loss`).toBeLessThan(2e-5)
        expect(Math.abs(taken.gradNorm / golden.gradNorm - 1), `${at}: relative error of the norm`).toBeLessThan(5e-4)
      })
      return model
    }
    afterAll(async () => (await learnt)?.dispose())

    test('loss, gradient norm, targets and result of every step match', async () => {
      const got = await logProbsOf(await model(), sequences)
      expect(largestDifference(got.flat(), run.final_logprobs.flat())).toBeLessThan(5e-5)
    })

    const file = `${name}/training/${run.name}/final/adapter_model.safetensors`
    needing(lacksGolden(file)).test('the adapter that it ends with', async () => {
      const wanted = readTensors(goldenPath(file))
      for (const { name: key, parameter } of (await model()).trainableParameters()) {
        const stored = key.replace(/\.(mora|lora_A)$/, '.lora_A.weight').replace(/\.lora_B$/, '.lora_B.weight')
        const values = wanted.get(`base_model.model.${stored}`)!.values
        // Adam divides by roots of tiny second moments, so weights that hardly matter may end far apart in relation.
        expect(largestDifference(await parameter.data(), values), key).toBeLessThan(1e-4)
      }
    })

    test('recomputed activations give the same bits', async () => {
      using kept = await loadTiny(name)
      using recomputed = await loadTiny(name)
      recomputed.gradientCheckpointing = true
      expect(await trained(recomputed, name, run)).toEqual(await trained(kept, name, run))
    })

    test('bfloat16 gets to the same loss', async () => {
      using model = await loadTiny(name, 'bfloat16')
      const { steps } = await trained(model, name, run)
      const last = steps.at(-1)!
      expect(Math.abs(last.loss / run.steps.at(-1)!.loss - 1), 'relative difference of the last loss').toBeLessThan(
        0.02,
      )
    })
  })
}
